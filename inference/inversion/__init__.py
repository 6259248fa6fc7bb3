"""From a photo to a person of a model (`python -m inference.invert`).

likeness.py      how different pictures are (what a photo shows: networks/person/fitting/photo.py)
manifolds.py     people of manifolds;  trigrid.py  people of tri-grids: both by latents, then styles, then weights
hidden.py        what a photo of a person of manifolds does not show
stages.py        what the two have in common: stages, rates, progress
"""
