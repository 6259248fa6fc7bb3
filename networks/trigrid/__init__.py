"""Tri-grid generator: portraits from all sides (3DPortraitGAN; Wu et al. 2023)."""
