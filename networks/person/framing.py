"""From a photo to a picture in a camera's frame: cutting, going on beyond the photo's edge, resampling.

Frame coordinates: x right, y *down*, -1..1 between the centres of a picture's first and last pixels. Pixel coordinates
of photos: x right, y down, whole numbers at pixel centres.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, CameraModel, project
from networks.person.tracking import View
from torch_utils.device import constant, full_precision
from torch_utils.misc import UserError
from torch_utils.pictures import WHITE

MARGIN = 8  # pixels round what is cut from a photo, for the resampling filters' sake
CORNERS = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
SIDES = ("left", "top", "right", "bottom")
MAX_CUT_OFF = 0.02  # of the portrait's side: foreground on a photo's edge
HAIR = 0.06  # of the portrait's side: what hair and clothes may add to the body where a person is continued
SMOOTHING = 0.02  # of the photo's edge: how far colours blend where they go on beyond it


class Placement(NamedTuple):
    """Pixels of a photo -> frame coordinates: ``matrix @ pixel + shift``, a similarity."""

    matrix: np.ndarray  # [2, 2]
    shift: np.ndarray  # [2]

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """Frame coordinates [N, 2] of a photo's pixels [N, 2]."""
        return pixels @ self.matrix.T + self.shift

    def pixels(self, frame: np.ndarray) -> np.ndarray:
        """The photo's pixels [N, 2] at frame coordinates [N, 2]."""
        return (frame - self.shift) @ np.linalg.inv(self.matrix).T

    @property
    def side(self) -> float:
        """Pixels of the photo from one side of the frame to the other."""
        return 2.0 / math.sqrt(np.linalg.det(self.matrix))


def frame_points(points: np.ndarray, view: View, model: CameraModel) -> np.ndarray:
    """Where a camera sees canonical points [N, 3] -> frame coordinates [N, 2]."""
    seen = project(torch.from_numpy(points)[None], view.camera, model)[0, :, :2].numpy()
    return seen * (1.0, -1.0)


class Cut(NamedTuple):
    """A rectangle of a photo, perhaps enlarged."""

    image: Image.Image  # RGB
    mask: Image.Image  # L
    corner: tuple[float, float]  # its left upper corner in the photo; pixel (0, 0) of the photo covers 0..1
    factor: float  # its pixels per pixel of the photo


def cut_off(mask: Image.Image, frame: Placement) -> dict[str, float]:
    """The sides of a photo at which its edge cuts the person off inside a frame, and how far the frame reaches beyond
    them, as a share of its own side."""
    person = np.asarray(mask) > 127
    height, width = person.shape
    x, y = np.arange(width), np.arange(height)
    edges = {
        "left": (person[:, 0], np.zeros(height), y),
        "top": (person[0], x, np.zeros(width)),
        "right": (person[:, -1], np.full(height, width - 1), y),
        "bottom": (person[-1], x, np.full(width, height - 1)),
    }
    corners = frame.pixels(CORNERS)
    beyond = (*-corners.min(0), *(corners.max(0) - (width - 1, height - 1)))
    found = {}
    for side, distance in zip(SIDES, beyond, strict=True):
        there, columns, rows = edges[side]
        points = frame.frame(np.stack([columns[there], rows[there]], 1))
        if (np.abs(points) < 1).all(1).sum() > MAX_CUT_OFF * frame.side:
            found[side] = max(float(distance), 0.0) / frame.side
    return found


def cut(photo: Image.Image, mask: Image.Image, frames: list[Placement], fill: Collection[str] = ()) -> Cut:
    """The rectangle of a photo that ``frames`` need; at the sides named in ``fill`` it goes on beyond the photo's edge.

    Raises:
        UserError: the frames lie outside the photo.
    """
    corners = np.concatenate([frame.pixels(CORNERS) for frame in frames])
    left, top = (np.floor(corners.min(0)) - MARGIN).astype(int).tolist()
    right, bottom = (np.ceil(corners.max(0)) + MARGIN).astype(int).tolist()
    box = (max(left, 0), max(top, 0), min(right, photo.width), min(bottom, photo.height))
    if box[2] - box[0] < MARGIN or box[3] - box[1] < MARGIN:
        raise UserError(f"expected head and shoulders inside the photo, found them at {box[0]}, {box[1]}")
    found = Cut(photo.crop(box), mask.crop(box), box[:2], 1.0)
    beyond = (box[0] - left, box[1] - top, right - box[2], bottom - box[3])
    pad = [max(length, 0) if side in fill else 0 for side, length in zip(SIDES, beyond, strict=True)]
    return _go_on(found, *pad) if any(pad) else found


def _go_on(source: Cut, left: int, top: int, right: int, bottom: int) -> Cut:
    """A cut continued beyond its edges: the person goes straight on, in the edge's colours, which blend on the way."""
    image, mask = np.asarray(source.image, np.float32), np.asarray(source.mask)
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        image, mask = np.moveaxis(image, axis, 0), np.moveaxis(mask, axis, 0)
        image = np.concatenate([_beyond(image[0], mask[0], before)[::-1], image, _beyond(image[-1], mask[-1], after)])
        mask = np.pad(mask, ((before, after), (0, 0)), mode="edge")
        image, mask = np.moveaxis(image, 0, axis), np.moveaxis(mask, 0, axis)
    picture = Image.fromarray(np.rint(image).astype(np.uint8))
    corner = (source.corner[0] - left, source.corner[1] - top)
    return Cut(picture, Image.fromarray(np.ascontiguousarray(mask)), corner, source.factor)


def _beyond(line: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """[count, W, 3]: an edge's colours [W, 3] from the edge on, those of the person (mask [W]) blending by and by."""
    weight = mask[:, None].astype(np.float32) / 255 + 1e-3
    sigma = max(SMOOTHING * len(line), 1.0)
    smooth = gaussian_filter1d(line * weight, sigma, axis=0) / gaussian_filter1d(weight, sigma, axis=0)
    blend = np.clip(np.arange(1, count + 1) / (4 * sigma), 0, 1)[:, None, None].astype(np.float32)
    return (1 - blend) * line + blend * smooth


def end_with(source: Cut, body: np.ndarray, margin: float, photo: tuple[int, int]) -> Cut:
    """A cut whose person ends, beyond the edges of the photo (w, h), where the body does.

    Args:
        source: a cut that was continued.
        body: [N, 2] points of the body, pixels of the photo; their convex hull counts.
        margin: pixels round it that are the person's, too.
        photo: pixels.
    """
    angles = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    circle = margin * np.stack([np.cos(angles), np.sin(angles)], 1)
    around = (body[ConvexHull(body).vertices][:, None] + circle - source.corner).reshape(-1, 2)
    reach = Image.new("L", source.mask.size, 0)
    ImageDraw.Draw(reach).polygon([tuple(point) for point in around[ConvexHull(around).vertices].tolist()], fill=255)
    reach = reach.filter(ImageFilter.GaussianBlur(1))  # as soft as outlines of photos are
    left, top = source.corner
    reach.paste(255, (int(-left), int(-top), int(photo[0] - left), int(photo[1] - top)))
    return source._replace(mask=ImageChops.darker(source.mask, reach))


def outside(placement: Placement, size: int, photo: tuple[int, int]) -> np.ndarray:
    """Which pixels of a picture in a placement's frame, [size, size] bool, lie beyond the edges of a photo (w, h)."""
    y, x = np.mgrid[:size, :size].reshape(2, -1) * (2.0 / (size - 1)) - 1.0
    pixels = placement.pixels(np.stack([x, y], 1))
    return ((pixels < -0.5) | (pixels > np.array(photo) - 0.5)).any(1).reshape(size, size)


def on_white(source: Cut) -> Cut:
    """A cut with its background replaced by white."""
    white = Image.new("RGB", source.image.size, WHITE)
    return source._replace(image=Image.composite(source.image, white, source.mask))


def resample(source: Cut, placement: Placement, size: int) -> tuple[Image.Image, Image.Image]:
    """Picture (RGB) and mask (L) of ``size`` pixels a side in a placement's frame; white and 0 outside the photo.

    Bicubic; where the source is finer than the picture, every pixel is the mean of enough of its samples.
    """
    spacing = placement.side / (size - 1) * source.factor  # pixels of the source between two of the picture
    fine = max(1, math.ceil(spacing))
    # Pillow's coordinates run from a picture's corner: c = pixel + 1/2. Fine c -> frame -> photo -> source c.
    inverse = np.linalg.inv(placement.matrix)
    matrix = inverse * (2.0 / (size - 1) / fine) * source.factor
    origin = inverse @ (-1.0 / (size - 1) - 1.0 - placement.shift)
    shift = (origin + 0.5 - source.corner) * source.factor
    data = (*matrix[0], shift[0], *matrix[1], shift[1])
    out = []
    for picture, fill in ((source.image, WHITE), (source.mask, 0)):
        warped = picture.transform(
            (size * fine, size * fine), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC, fillcolor=fill
        )
        out.append(warped.reduce(fine) if fine > 1 else warped)
    image, mask = out
    image.paste(WHITE, mask=mask.point(lambda value: 255 * (value == 0)))  # what the filter rings into the background
    return image, mask


def face_crop(image: Tensor, frame: Tensor, camera: Tensor, size: int) -> Tensor:
    """An aligned crop of the face out of portraits: what a face camera would frame, as far as the portrait shows it.

    Scale, place and roll are those of the head's origin and its up axis, projected by the portrait camera. It serves
    the ablation without a face camera (paper table 2, "no dual camera").

    Args:
        image: [B, 3, H, W] portraits.
        frame: [B, 4, 4] of the posed head.
        camera: [B, 2] (pitch, yaw) of the portrait camera.
        size: pixels a side of the crop [B, 3, size, size].
    """
    with full_precision():
        above = frame[:, :3, 3] + 0.01 * frame[:, :3, 1]
        head, above = project(torch.stack([frame[:, :3, 3], above], 1), camera, PORTRAIT_CAMERA).unbind(1)
        centre = head[:, :2]
        # Both cameras have the same field of view: the face fills it at the face camera's radius, less farther away.
        reach = FACE_CAMERA.radius / head[:, 2:]
        up = F.normalize(above[:, :2] - centre, dim=-1) * reach  # [B, 2] half a crop, x right and y up
        right = torch.stack([up[:, 1], -up[:, 0]], -1)
        # Rows of an image run down: y changes its sign, that of the output's and that of the input's.
        flip = constant((1.0, -1.0), centre)
        matrix = torch.stack([right * flip, -up * flip, centre * flip], -1)  # [B, 2, 3]
        grid = F.affine_grid(matrix, [len(image), 3, size, size], align_corners=True)
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
