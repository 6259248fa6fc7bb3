"""The tracker on a real photo (scikit-image's astronaut) and on pictures made of it."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from networks.person.tracker.follow import Frame, Tracker, track
from tests.networks.person.tracker.detectors import needs_detectors
from torch_utils.misc import UserError

pytestmark = needs_detectors
# Read off the enlarged photo by eye, to about a pixel: irises, corners of the mouth, chin (of a face 90 pixels wide).
PLACES = {468: (203.5, 100.5), 473: (246.5, 103), 61: (203.5, 140.5), 291: (245, 141), 152: (224, 178)}


@pytest.fixture(scope="module")
def photo():
    return data.astronaut()


@pytest.fixture(scope="module")
def tracker():
    return Tracker()


def test_landmarks_lie_where_they_should(photo, tracker):
    seen = tracker.step(photo)
    assert seen.face_score > 0.9
    for index, place in PLACES.items():
        assert np.linalg.norm(seen.face[index, :2] - place) < 4.5, index
    left, right = seen.pose[[11, 12], 0]
    assert 280 < left < 330 and 80 < right < 130
    assert seen.pose_visibility[[11, 12]].min() > 0.9
    assert seen.face[4, 2] < seen.face[234, 2] - 30  # the nose is nearer than the edge of the face


def test_a_track_has_a_row_for_every_picture(photo):
    empty = np.full_like(photo, 200)
    found = track([Frame(0.0, empty), Frame(0.5, photo), Frame(1.0, empty), Frame(1.5, photo)])
    assert found.image_size == (512, 512)
    assert found.seconds.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert found.found.tolist() == [False, True, False, True]
    assert np.isnan(found.face[~found.found]).all() and np.isfinite(found.face[found.found]).all()
    assert found.face_score[0] == 0 and found.pose_visibility[0].max() == 0


def test_people_are_counted_from_the_left_and_kept(photo):
    """Three of her, the middle one largest: the largest, or whoever is asked for, also after everybody has moved."""
    small = Image.fromarray(photo).crop((100, 0, 356, 256))
    wide = Image.new("RGB", (900, 400), "grey")
    for x, size in ((0, 200), (300, 320), (700, 200)):
        wide.paste(small.resize((size, size)), (x, 0))
    moved = Image.new("RGB", (900, 400), "grey")
    moved.paste(wide, (12, 9))
    frames = [Frame(0.0, np.asarray(wide)), Frame(0.1, np.asarray(moved))]
    for person, middle in ((None, 450), (0, 100), (1, 450), (2, 800)):
        place = track(frames, person).face[:, 4, 0]
        assert abs(place[0] - middle) < 60 and place[1] - place[0] == pytest.approx(12, abs=3)
    with pytest.raises(UserError, match="person 3: expected so many faces, found at most 3 at once"):
        track(frames, 3)


def test_nothing_to_follow_is_one_line():
    with pytest.raises(UserError, match="expected pictures, found none"):
        track([])
    with pytest.raises(UserError, match="no face in any of 2 pictures"):
        track([Frame(0.0, np.zeros((64, 64, 3), np.uint8))] * 2)
