"""From a photo to a person of a model (`python -m inference.invert`).

photo.py         what the photo shows, as pictures and labels;  likeness.py  how different pictures are
manifolds.py     people of manifolds;  trigrid.py  people of tri-grids: both by latents, then styles, then weights
stages.py        what the two have in common: stages, rates, progress
"""
