"""Radiance manifolds: M, phi, U, crossings, and the generator of AniPortraitGAN."""
