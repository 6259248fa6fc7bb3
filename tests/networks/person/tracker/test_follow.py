"""The tracker on a real photo (scikit-image's astronaut) and on pictures made of it."""

import subprocess

import numpy as np
import pytest
from PIL import Image
from skimage import data

from networks.person.tracker.follow import Frame, Tracker, track
from tests.networks.person.tracker.detectors import needs_detectors
from torch_utils.ffmpeg import find_ffmpeg
from torch_utils.misc import UserError
from torch_utils.pictures import read_picture
from torch_utils.video_reader import VideoReader

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


def save_turned(picture, path):
    """As a phone held sideways saves it: the rows are columns, and EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(path, exif=exif, quality=95)


def save_16_bit(picture, path):
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def save_transparent(picture, path):
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 300, 512, 512))  # below the face
    picture.putalpha(alpha)
    picture.save(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("turned.jpg", save_turned),
        ("grey.png", lambda picture, path: picture.convert("L").save(path)),
        ("cmyk.tif", lambda picture, path: picture.convert("CMYK").save(path)),
        ("deep.png", save_16_bit),
        ("transparent.png", save_transparent),
    ],
)
def test_photos_as_people_have_them(photo, tracker, tmp_path, name, save):
    """The landmarks of the plain photo: colours, JPEG and what is cut away move them a little (her face: 100 px)."""
    tracker.forget()
    expected = tracker.step(photo).face[:, :2]
    save(Image.fromarray(photo), tmp_path / name)
    tracker.forget()
    found = tracker.step(read_picture(tmp_path / name)).face[:, :2]
    assert np.abs(found - expected).max() < 6 and np.abs(found - expected).mean() < 1.5


def test_a_sideways_film_that_begins_before_the_face(photo, tmp_path):
    """Three empty frames, five of her, then the film is turned on its side, with a note that says so."""
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "512x384", "-r", "10", "-i", "-")
    frames = [np.full((384, 512, 3), 120, np.uint8)] * 3 + [np.ascontiguousarray(photo[:384])] * 5
    run = [find_ffmpeg("this test"), "-y", "-v", "error"]
    coded = ("-vf", "transpose=1", "-pix_fmt", "yuv420p", "-crf", "12", str(tmp_path / "a.mp4"))
    subprocess.run([*run, *size, *coded], input=b"".join(frame.tobytes() for frame in frames), check=True)
    turn = ("-display_rotation", "90", "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / "b.mp4"))
    subprocess.run([*run, *turn], check=True)
    found = track(VideoReader(tmp_path / "b.mp4"))
    assert found.image_size == (512, 384)
    assert found.found.tolist() == [False] * 3 + [True] * 5
    for index, place in PLACES.items():
        assert np.abs(found.face[3:, index, :2] - place).max() < 5, index
