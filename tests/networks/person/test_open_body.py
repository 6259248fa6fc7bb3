"""The open body's file, and the body and face that come from it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from networks.person import body_assets, face_model
from networks.person.body_model import HEAD, NECK, BodyModel
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.parts import EYE, LASH, PART_NAMES, SHIRT, SKIN
from networks.person.open_body.storage import PATH, OpenBody, read_open_body, write_open_body
from networks.person.tracking import MILLIMETRES
from torch_utils.misc import UserError, file_sha256

ROOT = Path(__file__).parents[3]
MIRRORED = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]  # joints
REFLECT = np.float32([-1, 1, 1])


@pytest.fixture(scope="module")
def opened() -> OpenBody:
    return read_open_body()


@pytest.fixture(scope="module")
def body() -> body_assets.BodyArrays:
    return body_assets.default_body()


@pytest.fixture(scope="module")
def face() -> face_model.FaceArrays:
    return face_model.default_face()


def expressed(face: face_model.FaceArrays, **actions: float) -> np.ndarray:
    """The mean face [N, 3] under some of the facial actions, canonical units."""
    z_exp = np.zeros(64, np.float32)
    for name, amount in actions.items():
        z_exp[ACTIONS.index(name)] = amount
    return face.mean + face.exp_basis @ z_exp


def test_the_file_is_the_one_that_its_readme_names():
    assert f"sha256 `{file_sha256(PATH)}`" in (PATH.parent / "README.md").read_text().replace("\n", " ")
    assert PATH.stat().st_size < 12e6


def test_what_is_written_is_read(opened, tmp_path):
    write_open_body(opened, tmp_path / "again.safetensors")
    again = read_open_body(tmp_path / "again.safetensors")
    assert again.metadata == opened.metadata
    for name in OpenBody._fields[:-1]:
        ours, theirs = getattr(opened, name), getattr(again, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9, err_msg=name)  # steps are taken anew


@pytest.mark.parametrize("harm", ["cut", "flipped"])
def test_a_damaged_file_is_one_line_and_exit_code_2(tmp_path, harm):
    data = bytearray(PATH.read_bytes())
    data = data[:-1000] if harm == "cut" else data[:5_000_000] + bytes([data[5_000_000] ^ 1]) + data[5_000_001:]
    (tmp_path / "body.safetensors").write_bytes(data)
    program = (
        "from pathlib import Path; from torch_utils.misc import run_cli;"
        "from networks.person.open_body.storage import read_open_body;"
        f"run_cli(lambda: read_open_body(Path({str(tmp_path / 'body.safetensors')!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'body.safetensors'}: truncated or damaged")
    assert done.stderr.count("\n") == 1


def test_other_files_are_refused(tmp_path, opened):
    with pytest.raises(UserError, match="missing; expected the open body's file"):
        read_open_body(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="expected the open body, version 1, found another file"):
        read_open_body(ROOT / "ckpts" / "demo.safetensors")


def test_indices_and_parts(opened):
    count = len(opened.part)
    assert np.array_equal(np.unique(opened.part), np.arange(len(PART_NAMES)))
    assert np.array_equal(np.unique(opened.faces), np.arange(count))
    assert opened.face_uv.max() == len(opened.uv) - 1
    assert (opened.part[opened.faces] == opened.part[opened.faces[:, :1]]).all()  # a face belongs to one part
    assert len(opened.people) == 2000
    age = opened.people[:, 90]
    assert age.min() > 24.9 and age.max() < 90.1  # adults; ages are stored in steps of 0.003 years


def test_mirror_images_are_exact(opened):
    twin, signs = opened.twin, opened.mirror_signs
    assert np.array_equal(twin[twin], np.arange(len(twin)))
    np.testing.assert_array_equal(opened.v_template[twin] * REFLECT, opened.v_template)
    np.testing.assert_array_equal(opened.lbs_weights[twin][:, MIRRORED], opened.lbs_weights)
    np.testing.assert_array_equal(opened.shapedirs[twin] * REFLECT[:, None] * signs[80:], opened.shapedirs)
    place = np.searchsorted(opened.head_vertices, twin[opened.head_vertices])
    np.testing.assert_array_equal(opened.id_basis[place] * REFLECT[:, None] * signs[:80], opened.id_basis)
    faces = {tuple(sorted(face)) for face in opened.faces.tolist()}
    assert faces == {tuple(sorted(face)) for face in twin[opened.faces].tolist()}


def test_scores_are_standard_and_uncorrelated(opened):
    """Of the people and their mirror images, which the directions are the principal ones of."""
    z_id, betas = opened.people[:, :80].astype(np.float64), opened.people[:, 80:90].astype(np.float64)
    for scores, signs in ((z_id, opened.mirror_signs[:80]), (betas, opened.mirror_signs[80:])):
        both = np.concatenate([scores, scores * signs])
        np.testing.assert_allclose(both.T @ both / len(both), np.eye(both.shape[1]), atol=2e-3)  # 16-bit scores


def test_body_layout(body):
    count = len(body.v_template)
    assert body.shapedirs.shape == (count, 3, 10)
    assert body.posedirs.shape == (count, 3, 0)
    assert {value.dtype for value in body[:5]} == {np.dtype(np.float32)}
    assert np.array_equal(np.unique(body.faces), np.arange(count))
    assert (body.lbs_weights >= 0).all()
    np.testing.assert_allclose(body.lbs_weights.sum(1), 1, atol=1e-6)
    checked = body_assets.body_from_dict(body._asdict(), "here")
    for ours, theirs in zip(body, checked, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_joints_are_smpls(body):
    """Neck and shoulders lie where SMPL has them; shapes move neither neck nor head."""
    joints = body.J_regressor.astype(np.float64) @ body.v_template
    np.testing.assert_allclose(body.J_regressor.sum(1, dtype=np.float64), 1, atol=1e-4)
    np.testing.assert_allclose(joints[NECK], [0, 0.288, -0.015], atol=1e-4)
    np.testing.assert_allclose(joints[[16, 17], 0], [0.173, -0.173], atol=0.01)
    np.testing.assert_allclose(joints[[16, 17], 1], 0.226, atol=0.015)
    moves = np.tensordot(body.J_regressor.astype(np.float64), body.shapedirs, (1, 0))
    assert np.abs(moves[[NECK, HEAD]]).max() < 1e-4
    assert np.abs(moves[16]).max() > 0.003


def test_the_body_is_dressed(opened, body):
    """On the trunk, lower than 18 cm below the neck joint, there is a shirt and no skin."""
    trunk = opened.lbs_weights[:, [0, 3, 6, 9]].sum(1) > 0.5
    low = trunk & (opened.v_template[:, 1] < 0.288 - 0.18)
    assert set(opened.part[low]) <= {SHIRT, PART_NAMES.index("hair")}
    assert (opened.part[low] == SHIRT).sum() > 200


def test_the_face_is_the_head_of_the_body(opened, body, face):
    """One topology: the mean face is the body's canonical head, vertex by vertex; landmarks are vertices of both."""
    model = BodyModel(body, torch.arange(10))
    canonical = model.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    among = np.isin(opened.body_vertices, opened.face_vertices)
    np.testing.assert_allclose(canonical[among], face.mean, atol=5e-6)  # 6 micrometres: weights of 16 bits
    shaped = model.canonical_vertices(torch.full((1, 10), 1.5))[0].numpy()[among]
    head = opened.head_share[np.isin(opened.head_vertices, opened.face_vertices)] > 0.9999
    assert MILLIMETRES * np.abs(shaped - face.mean)[head].max() < 0.1  # betas leave the head alone
    np.testing.assert_array_equal(opened.face_vertices[face.landmarks], opened.landmarks)
    assert (opened.part[opened.face_vertices] <= LASH).all()


def test_cameras_find_the_face(face, opened):
    """Eyes, mouth and chin where the cameras of the method expect SMPL's: 1 unit is 1.18 m."""
    marks = MILLIMETRES * face.mean[face.landmarks]
    np.testing.assert_allclose(marks[36:48].mean(0), [0, 12, -15], atol=5)
    np.testing.assert_allclose(marks[48:].mean(0), [0, -56, -2], atol=6)
    np.testing.assert_allclose(marks[8], [0, -94, -14], atol=6)


def test_landmarks_are_in_ibugs_order(face):
    marks = face.mean[face.landmarks]
    assert len(set(face.landmarks)) == 68
    assert (np.diff(marks[:17, 0]) > 0).all() and (np.diff(marks[17:27, 0]) > 0).all()  # from the person's right
    assert (np.diff(marks[27:31, 1]) < 0).all() and (np.diff(marks[31:36, 0]) > 0).all()
    for first in (36, 42):
        assert marks[first, 0] < marks[first + 3, 0]
        assert marks[[first + 1, first + 2], 1].min() > marks[[first + 4, first + 5], 1].max()
    assert (np.diff(marks[48:55, 0]) > 0).all() and (np.diff(marks[54:60, 0]) < 0).all()
    assert (np.diff(marks[60:65, 0]) > 0).all() and (np.diff(marks[64:68, 0]) < 0).all()
    np.testing.assert_allclose(marks[:17], marks[16::-1] * REFLECT, atol=1e-7)


def test_actions_are_arkits():
    assert len(set(ACTIONS)) == 52
    assert (
        ACTIONS[:2] == ("eyeBlinkLeft", "eyeLookDownLeft") and ACTIONS[17] == "jawOpen" and ACTIONS[-1] == "tongueOut"
    )
    for name in ACTIONS:
        assert name.replace("Left", "Right") in ACTIONS


def test_actions_do_what_they_are_named_for(face):
    """Which way landmarks go, in millimetres."""

    def moved(**actions: float) -> np.ndarray:
        return MILLIMETRES * (expressed(face, **actions) - face.mean)[face.landmarks]

    assert -30 < moved(jawOpen=1)[8, 1] < -15  # the chin sinks
    assert abs(moved(jawOpen=1)[36:48]).max() < 1e-3
    smile = moved(mouthSmileLeft=1)
    assert smile[54, 0] > 4 and smile[54, 1] > 4 and abs(smile[48]).max() < 3
    assert moved(mouthPucker=1)[[48, 54], 0] @ [1, -1] > 6  # corners come together
    assert moved(browInnerUp=1)[[21, 22], 1].min() > 3
    assert moved(browDownLeft=1)[[22, 23], 1].max() < -3
    assert moved(jawLeft=1)[8, 0] > 4 and moved(jawRight=1)[8, 0] < -4  # of the person
    closed = moved(jawOpen=1, mouthClose=1)  # the jaw is down, the lips meet
    assert closed[8, 1] < -15 and abs(closed[62, 1] - closed[66, 1]) < 0.5


def eyes_of(opened: OpenBody) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the left eyeball among the face's, and their angles from the gaze axis."""
    index = opened.face_vertices
    left = np.flatnonzero((opened.part[index] == EYE) & (opened.v_template[index, 0] > 0))
    return left, opened.eye_angle[index[left]]


@pytest.mark.parametrize(
    "action, axis, sign",
    [("eyeLookOutLeft", 0, 1), ("eyeLookInLeft", 0, -1), ("eyeLookUpLeft", 1, 1), ("eyeLookDownLeft", 1, -1)],
)
def test_eyeballs_turn(opened, face, action, axis, sign):
    """By 8 to 17 degrees, and stay round."""
    left, angle = eyes_of(opened)
    gazes = []
    for amount in (0.0, 1.0):
        points = expressed(face, **{action: amount})[left].astype(np.float64)
        sphere = np.column_stack([2 * points, np.ones(len(points))])
        centre = np.linalg.lstsq(sphere, (points**2).sum(1), rcond=None)[0][:3]
        radius = MILLIMETRES * np.linalg.norm(points - centre, axis=1)
        assert radius.std() < 0.3 and 14 < radius.mean() < 17
        gaze = points[angle == 0][0] - centre
        gazes.append(np.degrees(np.arcsin(sign * gaze[axis] / np.linalg.norm(gaze))))
    assert 8 < gazes[1] - gazes[0] < 17


def test_lids_close_over_the_eyeballs(opened, face):
    """Blinking, a lid lies before every point of iris and white, seen from the front."""
    left, angle = eyes_of(opened)
    vertices = MILLIMETRES * expressed(face, eyeBlinkLeft=1.0)
    skin = np.isin(np.arange(len(vertices)), face_model.default_face_skin())
    near = np.linalg.norm(vertices - vertices[left[angle == 0]], axis=1) < 40
    lids = vertices[face.faces[(skin & near)[face.faces].all(1)]]  # [F, 3, 3]
    for point in vertices[left[angle < np.radians(35)]]:
        sides = np.roll(lids, -1, 1) - lids
        offset = point[:2] - lids[..., :2]
        turn = sides[..., 0] * offset[..., 1] - sides[..., 1] * offset[..., 0]  # [F, 3]
        before = lids[(turn >= 0).all(1) | (turn <= 0).all(1)]
        assert len(before) and before[..., 2].max() > point[2] - 0.3, point
    marks = MILLIMETRES * expressed(face, eyeBlinkLeft=1.0)[face.landmarks]
    assert (marks[[43, 44], 1] < marks[[47, 46], 1]).all()  # the upper lid's edge lies over the lower one


def test_skin_of_the_face(opened, face):
    skin = face_model.default_face_skin()
    assert (opened.part[opened.face_vertices[skin]] == SKIN).all()
    assert np.isin(face.landmarks[:60], skin).all()
    depth = face.mean[skin, 2].max() - face.mean[skin, 2].min()
    assert MILLIMETRES * depth > 150  # all round
