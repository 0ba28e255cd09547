"""Learn to generate the codec form of videos, and generate: PyTorch, on CUDA or the CPU."""
