"""Strict PNG decoding: what is there, or what is wrong with it."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.training.data.sets import make_pixels, make_png
from torch_utils.misc import UserError
from training.data.png import decode_png


def saved(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", **options)
    return buffer.getvalue()


def test_pixels():
    rgb, grey = make_pixels(0, 16), make_pixels(0, 16, 1)
    np.testing.assert_array_equal(decode_png(make_png(rgb), 16, "a"), rgb)
    np.testing.assert_array_equal(decode_png(make_png(grey), 16, "a", "L"), grey)


def make_16_bit_rgb() -> bytes:
    """A true 16-bit RGB file (which Pillow cannot write): an 8-bit one with the header's depth changed."""
    data = bytearray(make_png(make_pixels(0, 16)))
    data[24] = 16
    return bytes(data)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "a.png: cut short"),
        (b"\x89PN", "a.png: cut short"),
        (b"\xff\xd8\xff a jpeg it would seem", "a.png: not a PNG file"),
        (make_png(make_pixels(0, 16))[:20], "a.png: cut short"),
        (make_png(make_pixels(0, 16))[:-40], "a.png: damaged or cut short"),
        (make_png(make_pixels(0, 15)), "a.png: expected 16 x 16 pixels, found 15 x 15"),
        (make_16_bit_rgb(), "expected an 8-bit RGB picture, found 16-bit RGB"),
        (
            saved(Image.fromarray(make_pixels(0, 16, 1).astype(np.uint16))),
            "found 16-bit grey",
        ),
        (make_png(make_pixels(0, 16, 1)), "expected an 8-bit RGB picture, found 8-bit grey"),
        (saved(Image.fromarray(make_pixels(0, 16)).quantize(200)), "found 8-bit palette"),
        (saved(Image.fromarray(make_pixels(0, 16)).convert("RGBA")), "found 8-bit RGB with alpha"),
        (saved(Image.fromarray(make_pixels(0, 16, 1)).convert("1")), "found 1-bit grey"),
    ],
)
def test_odd_files(data, message):
    with pytest.raises(UserError, match=message):
        decode_png(data, 16, "a.png")


def test_damaged_pixels():
    data = bytearray(make_png(make_pixels(0, 16)))
    data[len(data) // 2] ^= 0xFF  # the chunk's checksum no longer fits
    with pytest.raises(UserError, match="a.png: damaged or cut short"):
        decode_png(bytes(data), 16, "a.png")


def test_a_mask_must_be_grey():
    with pytest.raises(UserError, match="expected an 8-bit grey picture, found 8-bit RGB"):
        decode_png(make_png(make_pixels(0, 16)), 16, "a.png", "L")
