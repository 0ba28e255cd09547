"""The contract between `preprocess` and `train`: conventions, schema, store, reports.

It needs neither torch nor av nor numba, so that either side can be installed alone.
"""

__version__ = "0.1.0"
