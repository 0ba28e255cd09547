"""The contract between `preprocess` and `train`: conventions, schema, store, compensation.

Depends on numpy, zarr, pydantic and yaml only, so that either side can be installed alone.
"""

__version__ = "0.1.0"
