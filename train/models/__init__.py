"""Networks: residual autoencoders, the denoising 3D U-Net and its conditions, the refiner."""
