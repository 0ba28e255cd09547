"""The diffusion process: noise schedules, objective, samplers."""
