"""Strict PNG decoding: pictures of the expected size and kind, or a message that says what is there instead."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from torch_utils.misc import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The header's colour types, and the one each of our modes has.
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_EXPECTED = {"RGB": (8, 2), "L": (8, 0), "I;16": (16, 0)}  # depth and colour type by mode


def decode_png(data: bytes, size: int, where: str, mode: str = "RGB") -> np.ndarray:
    """Pixels of a square PNG: ``RGB`` -> [size, size, 3], ``L`` (grey) and ``I;16`` (16 bits) -> [size, size].

    Nothing is converted: Pillow would silently cut 16 bits to 8, and a palette or alpha channel hides a mistake.

    Args:
        data: the file's bytes.
        size: expected pixels a side.
        where: the file's name, for messages.
        mode: ``RGB``, ``L`` or ``I;16``.

    Raises:
        UserError: not a PNG, cut short, damaged, or of another size, depth or colour type.
    """
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise UserError(f"{where}: not a PNG file" if data[:8] != _SIGNATURE[: len(data)] else f"{where}: cut short")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (width, height) != (size, size):
        raise UserError(f"{where}: expected {size} x {size} pixels, found {width} x {height}")
    if (depth, colour) != (expected := _EXPECTED[mode]):
        found = f"{depth}-bit {_COLOUR_TYPES.get(colour, 'unknown')}"
        article = "an" if expected[0] == 8 else "a"
        raise UserError(
            f"{where}: expected {article} {expected[0]}-bit {_COLOUR_TYPES[expected[1]]} picture, found {found}"
        )
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture, np.uint16 if mode == "I;16" else np.uint8)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError ... for damage
        raise UserError(f"{where}: damaged or cut short ({error})") from None
