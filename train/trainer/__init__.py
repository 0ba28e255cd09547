"""The trainer: loop, schedule, optimisers, checkpoints, ranks, log and stop signals."""
