"""Strict PNG decoding: 8-bit pictures of the expected size and kind, or a message that says what is there instead."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from torch_utils.misc import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The header's colour types, and the one each of our modes has.
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_EXPECTED = {"RGB": 2, "L": 0}


def decode_png(data: bytes, size: int, where: str, mode: str = "RGB") -> np.ndarray:
    """Pixels of a square PNG: ``RGB`` -> [size, size, 3], ``L`` (grey) -> [size, size], uint8.

    Nothing is converted: Pillow would silently cut 16 bits to 8, and a palette or alpha channel hides a mistake.

    Args:
        data: the file's bytes.
        size: expected pixels a side.
        where: the file's name, for messages.
        mode: ``RGB`` or ``L``.

    Raises:
        UserError: not a PNG, cut short, damaged, or of another size, depth or colour type.
    """
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        raise UserError(f"{where}: not a PNG file" if data[:8] != _SIGNATURE[: len(data)] else f"{where}: cut short")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (width, height) != (size, size):
        raise UserError(f"{where}: expected {size} x {size} pixels, found {width} x {height}")
    if depth != 8 or colour != _EXPECTED[mode]:
        found = f"{depth}-bit {_COLOUR_TYPES.get(colour, 'unknown')}"
        raise UserError(f"{where}: expected an 8-bit {_COLOUR_TYPES[_EXPECTED[mode]]} picture, found {found}")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError ... for damage
        raise UserError(f"{where}: damaged or cut short ({error})") from None
