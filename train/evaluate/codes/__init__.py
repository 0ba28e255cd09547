"""The residual autoencoder against linear codes of its latent size: the paper's Tables 2 and 5."""

from train.evaluate.codes.run import JSON, PICTURE, TABLE, CodesOptions, compare_codes
from train.evaluate.codes.table import codes_table

CODES_FILES = (JSON, TABLE, PICTURE)

__all__ = ["CODES_FILES", "CodesOptions", "codes_table", "compare_codes"]
