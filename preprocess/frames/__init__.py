"""From decoded frames of any size to square RGB frames."""

import preprocess.kernel_cache  # noqa: F401  # before any kernel is declared
