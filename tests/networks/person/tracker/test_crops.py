"""Regions of pictures: closed forms on pictures whose value is a linear function of the place."""

import numpy as np
import pytest
from PIL import Image

from networks.person.tracker.crops import Region, around, cut, direction, whole


def make_ramp(width, height):
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8))


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2, np.pi / 2])
@pytest.mark.parametrize("size", [40.0, 100.0])
def test_a_cut_shows_what_its_region_says(size, angle):
    """Every pixel of a cut is the ramp at its middle, turned and scaled; within rounding, twice where it is reduced."""
    region, pixels = Region(np.array([110.0, 105.0]), size, angle), 20
    part = cut(make_ramp(220, 210), region, pixels)
    middles = (np.indices((pixels, pixels)).reshape(2, -1).T[:, ::-1] + 0.5) / pixels
    places = region.to_picture(middles).reshape(pixels, pixels, 2)
    assert np.abs(part[..., :2] - places).max() <= 1.01


def test_a_cut_of_the_whole_is_the_picture():
    picture = make_ramp(30, 30)
    assert (cut(picture, whole(picture.size), 30) == np.asarray(picture)).all()


def test_outside_of_the_picture_it_is_black():
    part = cut(Image.new("RGB", (40, 20), "white"), whole((40, 20)), 40)
    assert (part[:9] == 0).all() and (part[11:29] == 255).all() and (part[31:] == 0).all()
    assert (cut(Image.new("RGB", (40, 20), "white"), Region(np.array([500.0, 0.0]), 100.0, 0.3), 8) == 0).all()


def test_the_region_around_points_touches_them():
    """Corners of a turned 8 x 4 rectangle: the square has its middle, its turn and twice its longer side."""
    turn = Region(np.array([7.0, -3.0]), 1.0, 0.3)
    corners = turn.to_picture(np.array([[-4.0, -2.0], [4.0, -2.0], [-4.0, 2.0], [4.0, 2.0]]) + 0.5)
    region = around(corners, direction(corners[0], corners[1]), 2.0)
    assert region.angle == pytest.approx(0.3, abs=1e-6)
    assert region.size == pytest.approx(16.0, abs=1e-5)
    assert region.centre == pytest.approx([7.0, -3.0], abs=1e-5)


def test_depth_of_a_region_is_in_pixels():
    points = Region(np.array([5.0, 6.0]), 30.0, 1.0).to_picture(np.array([[0.5, 0.5, -0.2]]))
    assert points[0] == pytest.approx([5.0, 6.0, -6.0])
