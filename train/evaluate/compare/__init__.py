"""Compare systems: same clips, objective and sampler, at equal cost."""
