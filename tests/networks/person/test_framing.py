"""Pixels: read, cut, put on white, resampled to the right place."""

import io

import numpy as np
import pytest
from PIL import Image

from networks.person.framing import Cut, Placement, cut, cut_off, end_with, on_white, outside, resample
from torch_utils.misc import UserError
from torch_utils.pictures import png_bytes
from training.data.prepare.super_resolution import enlarge


def make_ramp(width=60, height=40) -> np.ndarray:
    """Red grows to the right by 4 a pixel, green downwards by 5."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 5 * y, np.full_like(x, 9)], -1).astype(np.uint8)


def make_cut(array=None) -> Cut:
    image = Image.fromarray(make_ramp() if array is None else array)
    return Cut(image, Image.new("L", image.size, 255), (0, 0), 1.0)


def square(left, top, side, turn=0.0) -> Placement:
    """The frame whose first pixel is at (left, top) and whose last is `side` pixels on, turned about the first."""
    c, s = np.cos(turn), np.sin(turn)
    matrix = 2 / side * np.array([[c, s], [-s, c]])
    return Placement(matrix, -1 - matrix @ [left, top])


def test_the_frame_of_the_pixels_themselves_copies_them():
    picture, mask = resample(make_cut(), square(10, 5, 20), 21)
    assert np.array_equal(np.asarray(picture), make_ramp()[5:26, 10:31])
    assert (np.asarray(mask) == 255).all()


@pytest.mark.parametrize("size", [5, 11, 41, 81])
def test_linear_ramps_come_out_exact_at_any_size(size):
    """First and last pixel centres are kept: 10..30 and 5..25. Means over a pixel keep a linear ramp."""
    picture = np.asarray(resample(make_cut(), square(10, 5, 20), size)[0]).astype(float)
    line = np.linspace(0, 20, size)
    # rounding to 8 bits, twice
    np.testing.assert_allclose(picture[:, :, 0], np.broadcast_to(4 * (10 + line), (size, size)), atol=1.01)
    np.testing.assert_allclose(picture[:, :, 1], np.broadcast_to(5 * (5 + line)[:, None], (size, size)), atol=1.01)


def test_turned_and_from_an_enlarged_cut():
    """The ramp enlarged 3 times and cut from (2, 1) on is the same picture in a turned frame."""
    placement = square(30, 12, 15, turn=0.4)
    plain = np.asarray(resample(make_cut(), placement, 16)[0]).astype(float)
    image = Image.fromarray(make_ramp()[1:, 2:])
    large = image.resize((3 * image.width, 3 * image.height), Image.Resampling.BICUBIC)
    enlarged = resample(Cut(large, Image.new("L", large.size, 255), (2, 1), 3.0), placement, 16)[0]
    np.testing.assert_allclose(np.asarray(enlarged).astype(float), plain, atol=1.5)
    c, s = np.cos(0.4), np.sin(0.4)  # counter-clockwise: the frame's x axis points right and down in the photo
    np.testing.assert_allclose(plain[0, 15, :2], [4 * (30 + 15 * c), 5 * (12 + 15 * s)], atol=1.01)


def test_outside_the_photo_is_white_without_foreground():
    picture, mask = resample(make_cut(), square(-20, -10, 40), 41)
    picture, mask = np.asarray(picture), np.asarray(mask)
    assert (picture[:9] == 255).all() and (picture[:, :19] == 255).all()
    assert (mask[:9] == 0).all() and (mask[:, :19] == 0).all() and (mask[12:, 22:] == 255).all()


def test_fine_stripes_become_grey_not_noise():
    """One-pixel stripes at a ninth of the resolution: their mean, not whichever a sample hits."""
    stripes = np.zeros((200, 200, 3), np.uint8)
    stripes[:, ::2] = 255
    picture = np.asarray(resample(make_cut(stripes), square(10, 10, 180), 21)[0]).astype(float)
    assert np.abs(picture - 127.5).max() < 16  # nine samples a pixel: five of one kind, four of the other


def test_cut_puts_the_person_on_white_and_enlarges():
    photo = Image.fromarray(make_ramp())
    mask = Image.fromarray(np.where(make_ramp()[:, :, 0] > 120, 255, 0).astype(np.uint8))
    frame = square(20.5, 10.5, 15)
    raw = cut(photo, mask, [frame])
    assert np.array_equal(np.asarray(raw.image), make_ramp()[2:34, 12:44])
    plain = on_white(raw)
    assert plain.corner == (12, 2) and plain.factor == 1 and plain.image.size == (32, 32)
    array = np.asarray(plain.image)
    assert (array[:, :18] == 255).all() and np.array_equal(array[:, 19:], make_ramp()[2:34, 31:44])
    double = enlarge(raw, lambda image: image.resize((2 * image.width, 2 * image.height)))
    assert double.factor == 2 and double.image.size == double.mask.size == (64, 64)
    with pytest.raises(UserError, match="expected head and shoulders inside the photo"):
        cut(photo, mask, [square(500, 500, 15)])


def test_png_round_trip():
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(Image.fromarray(make_ramp()))))), make_ramp())


def test_the_sides_at_which_people_are_cut_off():
    """A frame of 30 pixels that reaches 6 beyond the bottom and 3 beyond the right; only the bottom has a person."""
    mask = np.zeros((40, 60), np.uint8)
    mask[25:, 40:50] = 255
    frame = square(32, 15, 30)  # to x = 62, y = 45; the last pixels are 59 and 39
    assert cut_off(Image.fromarray(mask), frame) == pytest.approx({"bottom": 6 / 30})
    mask[30:35] = 255
    assert cut_off(Image.fromarray(mask), frame) == pytest.approx({"right": 3 / 30, "bottom": 6 / 30})
    assert cut_off(Image.fromarray(mask), square(5, 5, 20)) == {}


def test_people_go_on_beyond_the_edge():
    """Straight on, in the edge's own colour; the background does not bleed in; other sides stay as they were."""
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:] = (0, 0, 255)
    photo[20:, 20:40] = (200, 100, 0)
    mask = np.zeros((40, 60), np.uint8)
    mask[20:, 20:40] = 255
    frame = square(15.5, 20.5, 30)  # to x = 45.5, y = 50.5
    found = cut(Image.fromarray(photo), Image.fromarray(mask), [frame], fill=["bottom"])
    assert found.corner == (7, 12) and found.image.size == found.mask.size == (47, 47)
    person = np.zeros((47, 47), bool)
    person[8:, 13:33] = True
    assert np.array_equal(np.asarray(found.mask), 255 * person)
    np.testing.assert_allclose(np.asarray(found.image)[person], np.broadcast_to((200, 100, 0), (39 * 20, 3)), atol=2)
    assert cut(Image.fromarray(photo), Image.fromarray(mask), [frame]).image.size == (47, 28)
    beyond = outside(frame, 31, (60, 40))  # rows are y = 20.5, 21.5, ... 50.5
    assert not beyond[:19].any() and beyond[20:].all()


def test_people_end_where_their_bodies_do():
    """Continued upwards from y = 0 to -38, but the body's top is at -10; 5 pixels more are hair. The photo stays."""
    mask = Image.new("L", (60, 40), 255)
    source = cut(Image.fromarray(make_ramp()), mask, [square(20.5, -29.5, 40)], fill=["top"])
    body = np.array([[30.0, -10.0], [0, 40], [60, 40], [30, 0]])
    found = np.asarray(end_with(source, body, 5.0, (60, 40)).mask)
    assert source.corner == (12, -38) and (found[38:] == 255).all()
    column = found[:38, 30 - 12]
    assert (column[:20] == 0).all() and (column[27:] == 255).all() and 64 < column[23] < 192  # y = -15
    assert (found[:30, 0] == 0).all()  # far to the side of the top
