"""What `python -m train` does, a file a stage: vae, encode, diffusion, refine."""
