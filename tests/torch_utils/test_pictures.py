"""Pictures as cameras and programs write them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from torch_utils.misc import UserError
from torch_utils.pictures import picture_size, read_picture

# What a viewer does with each orientation of a stored picture [H, W].
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}


def make_ramp(width=60, height=40) -> np.ndarray:
    """Red grows to the right by 4 a pixel, green downwards by 5."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 5 * y, np.full_like(x, 9)], -1).astype(np.uint8)


def saved(path, picture, **options):
    picture.save(path, **options)
    return np.asarray(read_picture(path))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientations(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    found = saved(tmp_path / f"a.{suffix}", Image.fromarray(make_ramp()), exif=exif, **options)
    assert np.array_equal(found, ORIENTATIONS[orientation](make_ramp()))


def test_modes(tmp_path):
    """Grey, palettes, 16 bits, alpha (on white), CMYK."""
    ramp = Image.fromarray(make_ramp())
    grey = np.asarray(ramp.convert("L"))
    assert np.array_equal(saved(tmp_path / "l.png", ramp.convert("L")), np.repeat(grey[..., None], 3, 2))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(saved(tmp_path / "i16.png", deep)[..., 0], grey)
    assert np.array_equal(saved(tmp_path / "i16.tif", deep)[..., 0], grey)
    shallow = Image.fromarray(grey.astype(np.uint16))  # 8-bit numbers in a 16-bit file
    assert np.array_equal(saved(tmp_path / "i8.png", shallow)[..., 0], grey)
    palette = ramp.quantize(16)
    assert np.array_equal(saved(tmp_path / "p.png", palette), np.asarray(palette.convert("RGB")))
    bits = ramp.convert("1")
    assert np.array_equal(saved(tmp_path / "1.png", bits)[..., 0], 255 * np.asarray(bits))
    rgba = np.dstack([make_ramp(), np.full((40, 60), 255, np.uint8)])
    rgba[:, :10, 3], rgba[:, 10:20, 3] = 0, 51  # a fifth
    found = saved(tmp_path / "rgba.png", Image.fromarray(rgba))
    assert (found[:, :10] == 255).all() and np.array_equal(found[:, 20:], make_ramp()[:, 20:])
    np.testing.assert_allclose(found[:, 10:20], 0.2 * make_ramp()[:, 10:20] + 0.8 * 255, atol=1)
    la = Image.merge("LA", (ramp.convert("L"), Image.new("L", ramp.size, 0)))
    assert (saved(tmp_path / "la.png", la) == 255).all()
    seen_through = saved(tmp_path / "t.png", palette, transparency=0)
    assert (seen_through[np.asarray(palette) == 0] == 255).all()
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red ink
    for suffix in ("jpg", "tif"):
        np.testing.assert_allclose(saved(tmp_path / f"cmyk.{suffix}", cmyk)[0, 0], (255, 0, 0), atol=1)


def make_rgb16() -> bytes:
    """A 2 x 1 PNG of 16-bit colours, which Pillow cannot write: 0x1234, 0x5678, 0x9abc, then white."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = struct.pack(">B6H", 0, 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0xFFFF, 0xFFFF)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_16_bit_colours(tmp_path):
    (tmp_path / "a.png").write_bytes(make_rgb16())
    assert np.asarray(read_picture(tmp_path / "a.png")).tolist() == [[[0x12, 0x56, 0x9A], [255, 255, 255]]]


def make_profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def swapped_profile() -> bytes:
    """sRGB with red and green exchanged: its rXYZ and gXYZ (and curves, which are equal) change names."""
    data = make_profile("sRGB")
    return data.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def test_colour_profiles(tmp_path):
    """sRGB's changes nothing, one with red and green exchanged exchanges them; damaged and foreign ones count not."""
    flat = np.full((4, 4, 3), (200, 60, 90), np.uint8)
    picture = Image.fromarray(flat)
    np.testing.assert_allclose(saved(tmp_path / "a.png", picture, icc_profile=make_profile("sRGB")), flat, atol=1)
    exchanged = saved(tmp_path / "b.png", picture, icc_profile=swapped_profile())
    np.testing.assert_allclose(exchanged, flat[..., [1, 0, 2]], atol=2)  # rounding of the profile's numbers
    assert np.array_equal(saved(tmp_path / "c.png", picture, icc_profile=b"no profile"), flat)
    assert np.array_equal(saved(tmp_path / "d.png", picture, icc_profile=make_profile("XYZ")), flat)
    rgba = Image.fromarray(np.dstack([flat, np.full((4, 4), 255, np.uint8)]))
    np.testing.assert_allclose(
        saved(tmp_path / "e.png", rgba, icc_profile=swapped_profile()), flat[..., [1, 0, 2]], atol=2
    )
    lab = Image.new("LAB", (4, 4), (255, 128, 128))  # white
    np.testing.assert_allclose(saved(tmp_path / "lab.tif", lab), 255, atol=1)


def test_what_is_no_picture(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(make_ramp()).save(buffer, "png")
    (tmp_path / "half.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (tmp_path / "text.png").write_bytes(b"no picture")
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    for name, message in (
        ("half.png", "damaged, cut short or no picture"),
        ("text.png", "damaged, cut short or no picture"),
        ("none.png", "no such file"),
        ("float.tif", "expected an 8- or 16-bit picture, found F with 0.5..0.5"),
    ):
        with pytest.raises(UserError, match=message) as error:
            read_picture(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_picture(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert picture_size(tmp_path / "a.jpg") == read_picture(tmp_path / "a.jpg").size
    assert picture_size(tmp_path / "a.jpg") == ((6, 4) if orientation < 5 else (4, 6))
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    for name, message in (("bad.jpg", "damaged, cut short or no picture"), ("no.jpg", "no such file")):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            picture_size(tmp_path / name)
