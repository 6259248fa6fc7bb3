"""The morphable face: module, expressions that do what they are named for, and the Basel file."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from networks.embedded import frames
from networks.person import face_model
from torch_utils.misc import UserError

MM = 1e-3 / frames.UNIT  # a millimetre in canonical units


@pytest.fixture(scope="module")
def arrays():
    return face_model.embedded_face()


@pytest.fixture(scope="module")
def landmarks_of(arrays):
    """Expression coefficients -> 68 landmarks in millimetres from the canonical origin."""
    model = face_model.FaceModel(arrays)

    def compute(coefficients: dict[int, float]) -> np.ndarray:
        z_exp = torch.zeros(1, 64)
        for index, value in coefficients.items():
            z_exp[0, index] = value
        return model.landmarks(model(torch.zeros(1, 80), z_exp))[0].numpy() / MM

    return compute


def make_bfm(seed: int = 0, count: int = 300) -> dict:
    """Random arrays under the keys of BFM_model_front.mat."""
    rng = np.random.default_rng(seed)
    return {
        "meanshape": rng.standard_normal((1, 3 * count)),
        "idBase": rng.standard_normal((3 * count, 80)),
        "exBase": rng.standard_normal((3 * count, 64)),
        "tri": rng.integers(1, count + 1, (50, 3)).astype(np.float64),
        "keypoints": rng.permutation(count)[None, :68].astype(np.float64) + 1,
        "skinmask": np.ones((1, count)),
    }


def lid_gap(lm: np.ndarray, first: int) -> float:
    """Mean height of an eye's opening: landmarks first+1, first+2 over first+5, first+4."""
    return float((lm[[first + 1, first + 2], 1] - lm[[first + 5, first + 4], 1]).mean())


def test_layout(arrays):
    count = len(arrays.mean)
    assert 4000 <= count <= 7000
    assert arrays.id_basis.shape == (count, 3, 80)
    assert arrays.exp_basis.shape == (count, 3, 64)
    assert arrays.landmarks.shape == (68,)
    assert len(set(arrays.landmarks)) == 68
    assert arrays.mean.dtype == arrays.id_basis.dtype == arrays.exp_basis.dtype == np.float32
    assert arrays.faces.dtype == arrays.landmarks.dtype == np.int64
    assert set(np.unique(arrays.faces)) == set(range(count))


def test_deterministic(arrays):
    for first, second in zip(arrays, face_model.embedded_face(), strict=True):
        assert first.tobytes() == second.tobytes()


def test_forward_is_linear(arrays):
    model = face_model.FaceModel(arrays)
    assert not list(model.parameters())
    z_id, z_exp = torch.zeros(2, 80), torch.zeros(2, 64)
    z_id[0, 3], z_exp[1, 7] = 2.0, -1.5
    vertices = model(z_id, z_exp).numpy()
    assert vertices.shape == (2, len(arrays.mean), 3)
    np.testing.assert_allclose(vertices[0], arrays.mean + 2.0 * arrays.id_basis[:, :, 3], atol=1e-6)
    np.testing.assert_allclose(vertices[1], arrays.mean - 1.5 * arrays.exp_basis[:, :, 7], atol=1e-6)


def test_landmarks_alone_move_as_with_the_whole_face(arrays):
    model, part = face_model.FaceModel(arrays), face_model.FaceModel(face_model.at_landmarks(arrays))
    random = torch.Generator().manual_seed(0)
    z_id, z_exp = torch.randn(2, 80, generator=random), torch.randn(2, 64, generator=random)
    expected = model.landmarks(model(z_id, z_exp))
    # float32 sums of 144 products, around 0.1 units
    np.testing.assert_allclose(part(z_id, z_exp), expected, atol=1e-6)
    np.testing.assert_allclose(model.landmark_points(z_id, z_exp), expected, atol=1e-6)


def test_jaw_opens(landmarks_of):
    rest, opened = landmarks_of({}), landmarks_of({0: -1.0})
    assert rest[62, 1] - rest[66, 1] == pytest.approx(0.0, abs=0.01)
    assert opened[62, 1] - opened[66, 1] > 8.0
    assert 11.0 < rest[8, 1] - opened[8, 1] < 18.0  # chin, down
    assert opened[8, 2] < rest[8, 2]  # and back
    np.testing.assert_allclose(opened[36:48], rest[36:48], atol=0.01)


def test_smile_widens_and_raises(landmarks_of):
    rest, smile = landmarks_of({}), landmarks_of({1: 1.0})
    assert (smile[54, 0] - smile[48, 0]) - (rest[54, 0] - rest[48, 0]) > 8.0
    assert (smile[[48, 54], 1] - rest[[48, 54], 1]).min() > 4.0
    assert (smile[[48, 54], 2] - rest[[48, 54], 2]).max() < -2.0


def test_pucker_and_stretch(landmarks_of):
    rest, pucker, stretch = landmarks_of({}), landmarks_of({2: -1.0}), landmarks_of({5: -1.0})
    width = rest[54, 0] - rest[48, 0]
    assert pucker[54, 0] - pucker[48, 0] < width - 8.0
    assert pucker[[51, 57], 2].min() > rest[[51, 57], 2].min() + 3.0
    assert width + 5.0 < stretch[54, 0] - stretch[48, 0] < width + 15.0


def test_sneer_raises_upper_lip(landmarks_of):
    rest, sneer = landmarks_of({}), landmarks_of({3: -1.0})
    assert 1.0 < sneer[51, 1] - rest[51, 1] < 5.0
    assert abs(sneer[57, 1] - rest[57, 1]) < 0.2


def test_brows_and_frown(landmarks_of):
    rest, raised, frown = landmarks_of({}), landmarks_of({4: 1.0}), landmarks_of({6: 1.0})
    assert (raised[17:27, 1] - rest[17:27, 1]).mean() > 3.0
    np.testing.assert_allclose(raised[36:48], rest[36:48], atol=0.2)
    assert (frown[22, 0] - frown[21, 0]) < (rest[22, 0] - rest[21, 0]) - 3.0
    assert (frown[[21, 22], 1] - rest[[21, 22], 1]).max() < -2.0


def test_jaw_sideways_goes_left(landmarks_of):
    rest, side = landmarks_of({}), landmarks_of({7: 1.0})
    assert side[8, 0] - rest[8, 0] > 3.0
    assert abs(side[30, 0] - rest[30, 0]) < 0.2


@pytest.mark.parametrize(("coefficients", "left", "right"), [
    ({8: -1.0}, True, False), ({9: -1.0}, False, True), ({32: -0.8}, True, True),
])  # fmt: skip
def test_lids_close(landmarks_of, coefficients, left, right):
    rest, closed = landmarks_of({}), landmarks_of(coefficients)
    for first, shut in ((42, left), (36, right)):
        open_gap, gap = lid_gap(rest, first), lid_gap(closed, first)
        assert open_gap > 8.0
        assert gap == pytest.approx(0.0 if shut else open_gap, abs=0.5)


def test_small_directions_are_small_and_decrease(arrays):
    sizes = np.linalg.norm(arrays.exp_basis, axis=1).max(0) / MM
    small = np.array([sizes[k] for k in range(11, 64) if k != 32])
    assert small.max() <= 1.0
    assert small.min() > 0.005
    assert small[:8].mean() > small[-8:].mean()


def test_landmark_order(arrays):
    lm = arrays.mean[arrays.landmarks] / MM
    assert (np.diff(lm[0:17, 0]) > 0).all()  # jaw: right to left
    assert lm[8, 1] == lm[:17, 1].min()
    assert (np.diff(lm[17:27, 0]) > 0).all()
    assert (np.diff(lm[27:31, 1]) < 0).all()  # bridge: downwards
    assert lm[30, 2] == lm[:, 2].max()  # tip of the nose
    assert (np.diff(lm[31:36, 0]) > 0).all()
    assert (np.diff(lm[36:40, 0]) > 0).all() and (np.diff(lm[42:46, 0]) > 0).all()
    assert lm[[37, 38], 1].min() > lm[[40, 41], 1].max()
    assert (np.diff(lm[48:55, 0]) > 0).all() and (np.diff(lm[54:60, 0]) < 0).all()
    assert lm[51, 1] > lm[62, 1] > lm[57, 1]
    mirror = [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
              27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
              54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]  # fmt: skip
    np.testing.assert_allclose(lm[mirror] * (-1, 1, 1), lm, atol=0.01)
    eyes = lm[36:42].mean(0), lm[42:48].mean(0)
    assert eyes[1][0] - eyes[0][0] == pytest.approx(63.0, abs=1.5)


def test_bfm_is_registered_by_a_similarity(tmp_path, arrays):
    """A file whose landmarks are the embedded ones turned, scaled and shifted comes back to where they were."""
    data = make_bfm()
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    scale, shift = 11.3, np.array([0.3, -2.0, 5.0])
    mean = data["meanshape"].reshape(-1, 3)
    index = data["keypoints"].ravel().astype(int) - 1
    mean[index] = scale * arrays.mean[arrays.landmarks].astype(np.float64) @ rotation.T + shift
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, data)
    face = face_model.load_bfm(path)
    np.testing.assert_array_equal(face.landmarks, index)
    np.testing.assert_allclose(face.mean[face.landmarks], arrays.mean[arrays.landmarks], atol=1e-5)
    expected = np.einsum("ji,njk->nik", rotation, data["idBase"].reshape(-1, 3, 80)) / scale
    np.testing.assert_allclose(face.id_basis, expected, atol=1e-5)
    np.testing.assert_array_equal(face.faces, data["tri"].astype(int) - 1)
    assert face_model.FaceModel(face)(torch.zeros(1, 80), torch.zeros(1, 64)).shape == (1, 300, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exBase": None}, "no array 'exBase'"),
        ({"idBase": np.zeros((900, 79))}, r"'idBase'.*\[900, 80\].*\[900, 79\]"),
        ({"meanshape": np.zeros((1, 901))}, "'meanshape'"),
        ({"keypoints": np.ones((1, 5))}, "'keypoints' should hold 68"),
        ({"keypoints": np.zeros((1, 68))}, "'keypoints' should hold vertex numbers 1..300"),
        ({"tri": np.full((4, 3), 301)}, "'tri' should hold vertex numbers"),
        ({"exBase": np.full((900, 64), np.inf)}, "'exBase' holds NaN or infinity"),
    ],
)
def test_bad_bfm_arrays_are_named(tmp_path, change, message):
    path = tmp_path / "bfm.mat"
    savemat(path, {key: value for key, value in (make_bfm() | change).items() if value is not None})
    with pytest.raises(UserError, match=message) as caught:
        face_model.load_bfm(path)
    assert str(path) in str(caught.value)


def test_bad_bfm_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.mat"):
        face_model.load_bfm(tmp_path / "none.mat")
    path = tmp_path / "cut.mat"
    savemat(path, make_bfm())
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"cut\.mat"):
        face_model.load_bfm(path)
