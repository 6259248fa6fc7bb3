"""Turned square parts of a picture, as the detectors want them, and points in them.

Positions are pixels whose centres are the integers, x right, y down.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image


class Region(NamedTuple):
    """A square of a picture."""

    centre: np.ndarray  # [2] pixels
    size: float  # pixels a side
    angle: float  # radians by which it is turned clockwise, as seen

    def axes(self) -> np.ndarray:
        """Its x and y axes as columns [2, 2], each as long as a side."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return self.size * np.array([[cosine, -sine], [sine, cosine]])

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2 or 3] of the square, 0..1 from its upper left corner to its lower right one -> pixels.

        A third column, in units of the square's side, becomes pixels.
        """
        at = (points[:, :2] - 0.5) @ self.axes().T + self.centre
        return np.concatenate([at, points[:, 2:] * self.size], 1).astype(np.float32)


def whole(size: tuple[int, int]) -> Region:
    """The smallest square around a picture of ``size`` (width, height)."""
    width, height = size
    return Region(np.array([width - 1, height - 1]) / 2, float(max(width, height)), 0.0)


def around(points: np.ndarray, angle: float, scale: float) -> Region:
    """The square, turned by ``angle``, around ``points`` [N, 2]; ``scale`` times as large as they reach."""
    turned = points @ Region(np.zeros(2), 1.0, angle).axes()  # in its axes
    low, high = turned.min(0), turned.max(0)
    centre = Region(np.zeros(2), 1.0, angle).axes() @ ((low + high) / 2)
    return Region(centre, float(scale * (high - low).max()), angle)


def direction(start: np.ndarray, end: np.ndarray) -> float:
    """Radians, clockwise as seen, from the x axis to the line between two points."""
    return float(np.arctan2(end[1] - start[1], end[0] - start[0]))


def cut(picture: Image.Image, region: Region, size: int) -> np.ndarray:
    """A region of an RGB picture as [size, size, 3] uint8; black where there is no picture.

    Large regions are averaged down, not thinned out.
    """
    step = max(1, int(region.size / size))
    axes = region.axes()
    corner = region.centre + 0.5 - axes @ (0.5, 0.5)  # edges of pixels at integers, as Pillow counts
    if step > 1:
        reach = np.stack([corner, corner + axes[:, 0], corner + axes[:, 1], corner + axes.sum(1)])
        limit = np.array(picture.size)
        low = np.clip(np.floor(reach.min(0)).astype(int) - step, 0, limit - 1)
        high = np.clip(np.ceil(reach.max(0)).astype(int) + step, low + 1, limit)
        picture = picture.reduce(step, (*low.tolist(), *high.tolist()))
        corner, axes = (corner - low) / step, axes / step
    along = axes / size
    coefficients = (*along[0], corner[0], *along[1], corner[1])
    part = picture.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(part)
