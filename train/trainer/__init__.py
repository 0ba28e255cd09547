"""The training loop and its parts: schedule, optimisers, checkpoints, ranks, monitoring."""
