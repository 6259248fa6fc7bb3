"""Maps of a data set: the depth and the normals of what a picture shows, as PNG files.

Depth is the distance along the camera's optical axis in steps of 0.1 mm, 16-bit grey. Normals are unit vectors in the
camera's axes (x right, y up, z towards the camera), 8-bit RGB, ``(n + 1) * 127.5``. Both are of the nearest surface
that is drawn at the pixel's centre, be it skin, eye, lash, cloth or hair; where only a part of the pixel beside its
centre shows somebody, of that part. Where the picture shows nobody depth is 0 and so are the three bytes of the normal:
no unit vector has them.
"""

from __future__ import annotations

import numpy as np

from training.data.png import decode_png

DEPTH_STEP = 0.0001 / 1.1775  # 0.1 mm in canonical units
_LENGTHS = (0.98, 1.02)  # of normals that were rounded to 8 bits


def depth_pixels(depth: np.ndarray) -> np.ndarray:
    """Canonical units [H, W], 0 where nobody is -> uint16 as a file keeps it, 6.55 m at most."""
    return np.rint(np.clip(depth / DEPTH_STEP, 0, 65535)).astype(np.uint16)


def normal_pixels(normals: np.ndarray) -> np.ndarray:
    """Unit vectors [H, W, 3], zeros where nobody is -> uint8 [H, W, 3] as a file keeps them."""
    somebody = normals.any(-1, keepdims=True)
    return np.where(somebody, np.rint((np.clip(normals, -1, 1) + 1) * 127.5), 0).astype(np.uint8)


def decode_depth(data: bytes, size: int, where: str) -> np.ndarray:
    """Depth [size, size], float32 canonical units, 0 where nobody is, of a PNG file; ``where``: its name for messages.

    Raises:
        UserError: damaged, or not a 16-bit grey PNG of this size.
    """
    return (decode_png(data, size, where, "I;16") * DEPTH_STEP).astype(np.float32)


def decode_normals(data: bytes, size: int, where: str) -> np.ndarray:
    """Unit normals [size, size, 3], float32, zeros where nobody is, of a PNG file; UserError like decode_depth."""
    pixels = decode_png(data, size, where)
    vectors = _vectors(pixels)
    length = np.sqrt((vectors * vectors).sum(-1, keepdims=True))
    return np.where(pixels.any(-1, keepdims=True), vectors / np.maximum(length, 1e-6), 0).astype(np.float32)


def mirror_normals(normals: np.ndarray) -> np.ndarray:
    """Normals [H, W, 3] of the flipped picture: columns change places, x its sign."""
    return normals[:, ::-1] * np.array([-1, 1, 1], np.float32)


def map_fault(depth: np.ndarray, normals: np.ndarray, mask: np.ndarray | None) -> str | None:
    """What is wrong with the maps of one picture, or None.

    Args:
        depth: [H, W] uint16.
        normals: [H, W, 3] uint8.
        mask: [H, W] uint8 of the same picture, where there is one.
    """
    somebody = normals.any(-1)
    if (different := (depth > 0) != somebody).any():
        return f"expected depth and normals at the same pixels, found {different.sum()} with one of them"
    if mask is not None and (different := (depth > 0) != (mask > 0)).any():
        return f"expected depth where the mask is not 0, found {different.sum()} other pixels"
    length = np.sqrt((_vectors(normals[somebody]) ** 2).sum(-1))
    if (odd := (length < _LENGTHS[0]) | (length > _LENGTHS[1])).any():
        return f"expected normals of length 1, found {odd.sum()} of other lengths, such as {length[odd][0]:.2f}"
    return None


def _vectors(pixels: np.ndarray) -> np.ndarray:
    return pixels / 127.5 - 1.0
