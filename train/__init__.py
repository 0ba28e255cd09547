"""Learn to generate the codec form of videos, and generate: PyTorch, on CUDA or the CPU."""

from dvdm import require_own

require_own("shared")
