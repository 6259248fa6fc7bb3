"""The morphable face: module, expressions that do what they are named for, and the Basel file."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from networks.person import face_model
from torch_utils.misc import UserError


@pytest.fixture(scope="module")
def arrays():
    return face_model.default_face()


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
    for first, second in zip(arrays, face_model.default_face(), strict=True):
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


def test_bfm_is_registered_by_a_similarity(tmp_path, arrays):
    """A file whose landmarks are the open ones turned, scaled and shifted comes back to where they were."""
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
