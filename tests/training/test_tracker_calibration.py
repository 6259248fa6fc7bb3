"""The tracker's points on the open body: found again where they are known, and as shipped."""

import numpy as np
import pytest

from networks.person.body_assets import default_body
from networks.person.open_body.parts import EYE
from networks.person.open_body.storage import read_open_body
from networks.person.tracker.follow import NUM_LANDMARKS
from networks.person.tracker.landmarks import NUM_FACE
from networks.person.tracker.surface import NUM_BODY_POINTS, PATH, read_landmark_points, write_landmark_points
from tests.networks.person.tracker.detectors import needs_detectors
from torch_utils.misc import UserError
from training.data.synthetic.drawing import camera_view, project
from training.data.synthetic.mesh import MM
from training.tracker_calibration import SIZE, Samples, calibrate, collect, joint_points


@pytest.fixture(scope="module")
def body():
    return read_open_body()


@pytest.fixture(scope="module")
def table():
    return read_landmark_points()


@pytest.fixture(scope="module")
def canonical(body):
    """The mean body's vertices, canonical units, from SMPL's metres: what is here needs no exact place."""
    points = default_body().v_template
    return (points - points[body.body_vertices == body.landmarks[30]]) * (1000 * MM)


VIEWS = [camera_view((pitch, yaw)) for pitch in (1.4, 1.7) for yaw in (1.2, 1.57, 2.0)]


def views_of(points):
    return np.stack([project(points, view, SIZE)[0] for view in VIEWS])


def make_joints():
    """A joint at the origin that is not turned, in the frames of the cameras."""
    rotation = np.stack([view.rotation.T for view in VIEWS])
    place = -np.einsum("sab,sb->sa", rotation, np.stack([view.origin for view in VIEWS]))
    joints = np.concatenate([rotation, place[..., None]], 2)
    return np.repeat(joints[:, None], NUM_BODY_POINTS, 1)


def test_points_of_the_surface_and_off_joints_are_found_again(body, canonical, table):
    """Landmarks made of the table's own points, exactly: the same points come back, with no spread.

    Where two triangles meet either may be named, so places are compared: to 0.02 mm, the rounding of pixels.
    """
    vertices = views_of(canonical)
    found = np.einsum("lk,slkc->slc", table.face_weights, vertices[:, table.face_vertices])
    offsets = np.random.default_rng(0).normal(0, 40 * MM, (NUM_BODY_POINTS, 3))
    shown = np.ones((len(VIEWS), NUM_BODY_POINTS))
    samples = Samples(found, views_of(offsets), shown, vertices, make_joints())
    again = calibrate(samples, body)
    places = [np.einsum("lk,lkc->lc", t.face_weights, canonical[t.face_vertices]) for t in (table, again)]
    assert np.abs(places[0] - places[1]).max() < 0.02 * MM
    assert again.face_spread.max() < 0.02
    assert again.body_offsets == pytest.approx(offsets, abs=1e-6)
    assert again.body_spread.max() < 1e-3


def test_a_wrong_picture_in_eight_moves_no_joint_by_much(canonical):
    """A landmark 300 pixels off in one of 6 pictures moves its point by less than 3 mm, not by its share of 50."""
    seen = views_of(np.tile(np.array([30.0, 20.0, 10.0]) * MM, (NUM_BODY_POINTS, 1)))
    seen[2] += 300
    samples = Samples(np.zeros(0), seen, np.ones(seen.shape[:2]), np.zeros(0), make_joints())
    offsets, spread = joint_points(samples)
    assert np.abs(offsets / MM - (30, 20, 10)).max() < 3
    assert spread.max() < 10


def test_the_shipped_table_is_of_this_body(body, table):
    faces = {tuple(sorted(face)) for face in default_body().faces.tolist()}
    assert all(tuple(sorted(corners)) in faces for corners in table.face_vertices.tolist())
    assert table.face_weights.min() >= 0
    assert table.face_weights.sum(1) == pytest.approx(1, abs=1e-5)
    eyes = body.part[body.body_vertices][table.face_vertices] == EYE
    assert not eyes[:NUM_FACE].any() and eyes[NUM_FACE:].all()
    assert table.reliable.sum() > 400 and table.reliable[NUM_FACE:].all()
    assert PATH.stat().st_size < 20_000


def test_the_shipped_table_is_symmetric(body, table, canonical):
    """Mirror images, to 3.5 mm: outer and inner corners of eyes, corners of the mouth, nostrils, brows, irises."""
    place = np.einsum("lk,lkc->lc", table.face_weights, canonical[table.face_vertices]) / MM
    for right, left in ((33, 263), (133, 362), (61, 291), (98, 327), (105, 334), (468, 473)):
        assert place[right] * (-1, 1, 1) == pytest.approx(place[left], abs=3.5)
    for middle in (1, 4, 10, 13, 14, 152, 168):
        assert abs(place[middle, 0]) < 2


def test_a_table_of_another_body_is_refused(tmp_path, table):
    write_landmark_points(table, tmp_path / "a.safetensors")
    again = read_landmark_points(tmp_path / "a.safetensors")
    assert all((a == b).all() for a, b in zip(again[:-1], table[:-1], strict=True))
    with pytest.raises(UserError, match="missing; expected the tracker's points"):
        read_landmark_points(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="expected the tracker's points on open-1, found open-0"):
        data = (tmp_path / "a.safetensors").read_bytes()
        _with_checksum(tmp_path / "b.safetensors", data.replace(b'\\"open-1\\"', b'\\"open-0\\"'))
        read_landmark_points(tmp_path / "b.safetensors")


def _with_checksum(path, data):
    """Writes a tensor file whose checksum is made right again."""
    import hashlib
    import re

    blank = re.sub(rb'"sha256":"[0-9a-f]{64}"', b'"sha256":"' + b"0" * 64 + b'"', data)
    digest = hashlib.sha256(blank).hexdigest().encode()
    path.write_bytes(blank.replace(b"0" * 64, digest, 1))


@needs_detectors
def test_looking_at_other_people_agrees(body, table, canonical):
    """One person of another draw, in two pictures: where the table says that landmarks are, there they are found.

    4 mm: twice the median spread over all people. What two pictures say of where the points are is noisier.
    """
    samples = collect(1, seed=99, shots=2)
    assert samples.face.shape == (2, NUM_LANDMARKS, 2)
    expected = np.einsum("lk,slkc->slc", table.face_weights, samples.vertices[:, table.face_vertices])
    pixel = 469 / SIZE  # mm
    apart = pixel * np.linalg.norm(samples.face - expected, axis=2)
    assert np.median(apart) < 4 and np.percentile(apart, 95) < 10
    again = calibrate(samples, body)
    places = [np.einsum("lk,lkc->lc", t.face_weights, canonical[t.face_vertices]) / MM for t in (table, again)]
    assert np.median(np.linalg.norm(places[0] - places[1], axis=1)) < 6
