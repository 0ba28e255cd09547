"""Stages of training, one file each: vae, encode, diffusion and its refining network."""
