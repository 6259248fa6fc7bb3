"""From a photo to a person of a model (`python -m inference.invert`).

likeness.py      how different pictures are (what a photo shows: networks/person/fitting/photo.py)
patches.py       which rays of it a step looks at;  hidden.py  what it does not show
manifolds.py     people of manifolds;  trigrid.py  people of tri-grids: both by latents, then styles, then weights
stages.py        what the two have in common: stages, rates, progress
"""
