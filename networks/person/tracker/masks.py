"""Masks of the person that a tracker follows, in a picture's own pixels."""

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.special import expit

from networks.person.tracker.crops import Region, cut, whole
from networks.person.tracker.landmarks import BodyPoints
from networks.person.tracker.model_files import Model

_PORTRAIT = 5.0  # faces: side of the square around head and shoulders that is looked at closely
_BELOW = 0.6  # faces by which its middle lies under the face's
_NEAR = 0.08  # of a body's region: how far from its own rough mask the person may reach
_RADIUS, _EPSILON = 1.5, 1e-3  # cells of a mask; variance of grey values: what the guided filter calls an edge


class Segmenter:
    """Finds people's pixels."""

    def __init__(self) -> None:
        self._model = Model("selfie_segmentation")

    def __call__(self, picture: Image.Image, face: Region, body: BodyPoints | None = None) -> np.ndarray:
        """How far every pixel shows the person whose ``face`` and ``body`` were found: [H, W] uint8 0..255.

        ``face`` is that of the tracker: 1.5 times as wide as its landmarks. Edges follow the picture's own. Other
        people count as background where ``body`` says who is who.
        """
        size = _PORTRAIT * face.size / 1.5
        down = np.array([-np.sin(face.angle), np.cos(face.angle)])
        near = Region(face.centre + down * _BELOW * face.size / 1.5, size, face.angle)
        everything = whole(picture.size)
        mask = self._refined(picture, everything)
        if size < everything.size:
            close = self._refined(picture, near)
            mask = np.where(_laid(np.ones((2, 2), np.float32), near, picture.size) > 0, close, mask)
        if body is not None:
            reach = max(1, round(_NEAR * len(body.mask)))
            rough = ndimage.maximum_filter(expit(body.mask), size=2 * reach + 1)
            mask = np.minimum(mask, _laid(rough, body.within, picture.size))
        return np.rint(255 * mask.clip(0, 1)).astype(np.uint8)

    def _refined(self, picture: Image.Image, region: Region) -> np.ndarray:
        """The model's mask of a region, its edges moved to the picture's: [H, W] float32, 0 outside of the region."""
        side = self._model.size[0]
        (mask,) = self._model(cut(picture, region, side) * np.float32(1 / 255))
        mask = _laid(mask[..., 0], region, picture.size)
        return guided(mask, picture, _RADIUS * region.size / side)


def guided(mask: np.ndarray, picture: Image.Image, radius: float) -> np.ndarray:
    """A mask [H, W], 0..1, as the function of grey values that fits it best round every pixel (He et al. 2013).

    Args:
        radius: pixels of the square windows that it is fitted in.
    """
    grey = np.asarray(picture.convert("L"), np.float32) / 255
    size = 2 * max(1, round(radius)) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values, size, mode="nearest")

    middle, level = mean(grey), mean(mask)
    slope = (mean(grey * mask) - middle * level) / (mean(grey * grey) - middle * middle + _EPSILON)
    return (mean(slope) * grey + mean(level - slope * middle)).clip(0, 1)


def _laid(values: np.ndarray, region: Region, size: tuple[int, int]) -> np.ndarray:
    """Values [n, n] of a region in the pixels of a picture of ``size``: [H, W] float32, 0 outside of the region."""
    count = len(values)
    axes = region.axes()
    back = np.linalg.inv(axes) * count
    corner = -back @ (region.centre + 0.5 - axes @ (0.5, 0.5))
    coefficients = (*back[0], corner[0], *back[1], corner[1])
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    laid = image.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(laid)
