"""Training of the tri-grid generator (3DPortraitGAN, section 3.3)."""
