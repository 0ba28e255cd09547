"""From decoded frames of any size to RGB frames of the store's size."""

import preprocess.kernel_cache  # noqa: F401  # before any kernel is declared
