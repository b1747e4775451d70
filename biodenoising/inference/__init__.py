"""From noisy samples to denoised ones: runtimes, chunks, bands, and the denoiser over them."""
