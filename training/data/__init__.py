"""Data sets: reading, preparing and drawing them."""
