"""Building blocks of the Numba kernels: vector instructions, compiler flags, candidate keys."""
