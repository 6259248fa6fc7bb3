"""Masks of captures: who is in front, and the band along the outline that no loss looks at."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

BAND = 5  # pixels a side of the box that a mask is widened and narrowed by
LEAST_FOREGROUND, DARK, BRIGHT = 128, 5, 250  # of 0..255


class Masked(NamedTuple):
    foreground: np.ndarray  # [H, W] bool
    boundary: np.ndarray  # [H, W] bool


def split_mask(mask: np.ndarray) -> Masked:
    """A mask [H, W] uint8: foreground above 128; boundary where a box of 5 x 5 sees both, or the mask is grey."""
    foreground = mask > LEAST_FOREGROUND
    wide = ndimage.maximum_filter(foreground, BAND, mode="constant", cval=False)
    narrow = ndimage.minimum_filter(foreground, BAND, mode="constant", cval=True)
    return Masked(foreground, (wide != narrow) | ((mask > DARK) & (mask < BRIGHT)))
