"""Masks of the followed person, on a drawn person before a restless wall, whose mask is known."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from networks.person.tracker.follow import Tracker
from networks.person.tracker.masks import guided
from tests.networks.person.tracker.detectors import needs_detectors


def test_a_blurred_edge_moves_to_the_picture_s():
    """A step of grey values, and a mask that rises over 9 pixels around it: the guided mask is a step, to 5 %."""
    picture = Image.fromarray(np.repeat(np.where(np.arange(40) < 20, 30, 220)[None].astype(np.uint8), 30, 0), "L")
    mask = np.repeat(np.clip((np.arange(40) - 15.5) / 8, 0, 1)[None], 30, 0).astype(np.float32)
    found = guided(mask, picture.convert("RGB"), 8)
    assert found[:, 19].max() < 0.35 and found[:, 20].min() > 0.65  # 0.44 and 0.56 before
    assert found[:, :8].max() < 0.05 and found[:, 32:].min() > 0.95


@needs_detectors
def test_the_mask_is_that_of_the_person():
    """Two astronauts: the mask covers the one who is followed and her suit, not the wall, and not the other one."""
    photo = Image.fromarray(data.astronaut()).crop((0, 0, 380, 400))
    wide = Image.new("RGB", (900, 400), (150, 170, 150))
    wide.paste(photo, (0, 0))
    wide.paste(photo.resize((190, 200)), (600, 100))
    tracker = Tracker()
    tracker.step(wide)
    mask = tracker.mask(wide)
    assert mask.shape == (400, 900) and mask.dtype == np.uint8
    for x, y in ((226, 100), (170, 60), (110, 300), (226, 165), (300, 300)):  # face, hair, suit, chin, suit
        assert mask[y, x] > 230
    for x, y in ((60, 60), (350, 60), (500, 200), (713, 150), (680, 250)):  # walls; the other one's face and suit
        assert mask[y, x] < 25


@needs_detectors
def test_without_a_person_there_is_no_mask():
    tracker = Tracker()
    tracker.step(np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(ValueError, match="in which the person was found"):
        tracker.mask(np.zeros((50, 50, 3), np.uint8))
