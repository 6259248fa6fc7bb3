"""Pixels of the preparation: reading photos and masks, cutting, super-resolving, and resampling into a frame."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from torch_utils.misc import UserError, one_line
from training.data.prepare.alignment import Placement
from training.data.prepare.super_resolution import Upscaler

WHITE = (255, 255, 255)
MARGIN = 8  # pixels round what is cut from a photo, for the resampling filters' sake
CORNERS = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_EIGHT_BIT = ("RGB", "RGBA", "L", "LA", "P", "1")


class Cut(NamedTuple):
    """A rectangle of a photo, perhaps enlarged."""

    image: Image.Image  # RGB
    mask: Image.Image  # L
    corner: tuple[float, float]  # its left upper corner in the photo; pixel (0, 0) of the photo covers 0..1
    factor: float  # its pixels per pixel of the photo


def read_picture(path: Path, mode: str) -> Image.Image:
    """An 8-bit picture as ``mode``. Raises UserError: missing, damaged, cut short or not 8-bit."""
    try:
        with Image.open(path) as picture:
            coding = str(picture.tile[0].args if picture.tile else "")  # Pillow cuts 16-bit colours to 8 in silence
            if picture.mode not in _EIGHT_BIT or ";16" in coding:
                raise UserError(f"{path}: expected an 8-bit picture, found {picture.mode} {coding}")
            return picture.convert(mode)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # decoders raise many kinds: OSError, SyntaxError, DecompressionBombError ...
        raise UserError(f"{path}: damaged, cut short or no picture ({one_line(str(error))})") from None


def read_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """A foreground mask as 8-bit grey; 0 and 1 mean 0 and 255. Raises UserError, also where it is not of ``size``."""
    mask = read_picture(path, "L")
    if mask.size != size:
        raise UserError(
            f"{path}: expected {size[0]}x{size[1]} pixels as the photo, found {mask.size[0]}x{mask.size[1]}"
        )
    return mask.point(lambda value: 255 * value) if mask.getextrema()[1] == 1 else mask


def cut(photo: Image.Image, mask: Image.Image, frames: list[Placement]) -> Cut:
    """The rectangle of a photo that ``frames`` need. Raises UserError where they lie outside the photo."""
    corners = np.concatenate([frame.pixels(CORNERS) for frame in frames])
    left, top = np.maximum(np.floor(corners.min(0)) - MARGIN, 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(0)) + MARGIN, photo.size).astype(int).tolist()
    if right - left < MARGIN or bottom - top < MARGIN:
        raise UserError(f"expected head and shoulders inside the photo, found them at {left}, {top}")
    box = (left, top, right, bottom)
    return Cut(photo.crop(box), mask.crop(box), (left, top), 1.0)


def enlarge(source: Cut, upscale: Upscaler) -> Cut:
    """A cut, super-resolved; its mask is interpolated. Raises UserError where super-resolution fails."""
    image = upscale(source.image)
    mask = source.mask.resize(image.size, Image.Resampling.BICUBIC)
    return source._replace(image=image, mask=mask, factor=source.factor * image.width / source.image.width)


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


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
