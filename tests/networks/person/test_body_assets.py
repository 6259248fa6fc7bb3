"""Bodies in SMPL's layout: the embedded one, files, and the head-and-shoulder rule."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from networks.embedded import frames
from networks.person import body_assets
from torch_utils.misc import UserError

GOLDEN_BODY = Path(__file__).parents[3].parent / "shared" / "golden" / "body.npz"


@pytest.fixture(scope="module")
def body():
    return body_assets.embedded_body()


def make_smpl_dict(count: int = 40, seed: int = 0) -> dict:
    """Random arrays under a real file's keys, 300 shape directions, sparse regressor, uint32 tree."""
    rng = np.random.default_rng(seed)
    weights = rng.random((count, 24))
    parents = frames.PARENTS.astype(np.uint32)
    return {
        "v_template": rng.standard_normal((count, 3)),
        "shapedirs": rng.standard_normal((count, 3, 300)),
        "posedirs": rng.standard_normal((count, 3, 207)),
        "J_regressor": sparse.csc_matrix(rng.random((24, count))),
        "weights": weights / weights.sum(1, keepdims=True),
        "f": rng.integers(0, count, (60, 3)).astype(np.uint32),
        "kintree_table": np.stack([parents, np.arange(24, dtype=np.uint32)]),
        "bs_style": "lbs",
    }


def test_embedded_layout(body):
    count = len(body.v_template)
    assert 2000 <= count <= 7000
    assert body.v_template.shape == (count, 3)
    assert body.shapedirs.shape == (count, 3, 10)
    assert body.posedirs.shape == (count, 3, 207)
    assert body.J_regressor.shape == (24, count)
    assert body.lbs_weights.shape == (count, 24)
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "lbs_weights"):
        assert getattr(body, name).dtype == np.float32, name
    assert body.faces.dtype == np.int64
    assert set(np.unique(body.faces)) == set(range(count))
    np.testing.assert_array_equal(body.parents, frames.PARENTS)


def test_joints_are_regressed(body):
    joints = body.J_regressor.astype(np.float64) @ body.v_template
    np.testing.assert_allclose(joints, frames.joints(), atol=1e-6)
    np.testing.assert_allclose(body.J_regressor.sum(1), 1.0, atol=1e-6)


def test_weights(body):
    assert (body.lbs_weights >= 0).all()
    assert ((body.lbs_weights > 0).sum(1) <= 4).all()
    np.testing.assert_allclose(body.lbs_weights.sum(1), 1.0, atol=1e-6)
    upright = frames.to_upright(body.v_template.astype(np.float64))
    np.testing.assert_array_equal(body.lbs_weights[upright[:, 1] > 0.45, 15], 1.0)  # the head is rigid
    elbow_to_wrist = (body.v_template[:, 0] > 0.50) & (body.v_template[:, 0] < 0.64)
    np.testing.assert_array_equal(body.lbs_weights[elbow_to_wrist, 18], 1.0)


def test_mirror_symmetry(body):
    flipped = body.v_template * (-1.0, 1.0, 1.0)
    distance, twin = cKDTree(body.v_template).query(flipped)
    assert distance.max() < 1e-6
    swap = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
    off_middle = np.abs(body.v_template[:, 0]) > 1e-5
    np.testing.assert_allclose(body.lbs_weights[off_middle], body.lbs_weights[twin][off_middle][:, swap], atol=1e-6)


def test_deterministic(body):
    again = body_assets.embedded_body()
    for first, second in zip(body, again, strict=True):
        assert first.tobytes() == second.tobytes()


def test_human_size(body):
    low, high = body.v_template.min(0), body.v_template.max(0)
    assert 0.56 < high[1] < 0.59
    assert -1.20 < low[1] < -1.13
    assert 0.80 < high[0] < 0.90
    head = body.lbs_weights[:, 15] > 0.99
    assert 0.150 < np.ptp(body.v_template[head, 0]) < 0.160
    assert np.linalg.norm(body.shapedirs, axis=1).max() < 0.03


def test_closed_and_outward(body):
    edges = np.concatenate([body.faces[:, [0, 1]], body.faces[:, [1, 2]], body.faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert {tuple(e) for e in edges} == {(b, a) for a, b in edges}
    a, b, c = (body.v_template[body.faces[:, k]].astype(np.float64) for k in range(3))
    volume = np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
    assert 0.055 < volume < 0.095  # cubic metres; people are about 0.07


def test_pose_correctives_vanish_at_rest_and_thicken(body):
    bend = np.zeros(207)
    angle = np.pi / 2
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    bend[17 * 9 : 18 * 9] = (rotation - np.eye(3)).ravel()  # joint 18: left elbow
    moved = np.linalg.norm(body.posedirs @ bend, axis=1)
    assert 0.005 < moved.max() < 0.015
    assert body.v_template[moved > 1e-4, 0].min() > 0.3


def test_head_shoulder_rule(body):
    index = body_assets.head_shoulder_vertices(body)
    assert index.dtype == np.int64
    assert (np.diff(index) > 0).all()
    kept = np.zeros(len(body.v_template), dtype=bool)
    kept[index] = True
    v = body.v_template
    assert kept[v[:, 1] > 0.30].all()  # head and neck
    assert kept[(v[:, 1] > 0.10) & (np.abs(v[:, 0]) < 0.21)].all()  # shoulders, chest, back
    assert not kept[v[:, 1] < -0.10].any()
    assert not kept[np.abs(v[:, 0]) > 0.25].any()


def test_head_shoulder_rule_on_smpl_sized_body():
    if not GOLDEN_BODY.is_file():
        pytest.skip("the golden body is not beside this checkout")
    golden = body_assets.load_smpl(GOLDEN_BODY)
    given = np.load(GOLDEN_BODY)["head_shoulder_index"]
    index = body_assets.head_shoulder_vertices(golden)
    assert np.isin(given, index).mean() > 0.97
    assert len(index) < 0.6 * len(golden.v_template)


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_smpl_files(tmp_path, suffix):
    data = make_smpl_dict()
    path = tmp_path / f"SMPL_NEUTRAL{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(data, protocol=2))
    else:
        np.savez(path, **{**data, "J_regressor": data["J_regressor"].toarray()})
    body = body_assets.load_smpl(path)
    np.testing.assert_array_equal(body.parents, frames.PARENTS)
    np.testing.assert_array_equal(body.shapedirs, data["shapedirs"][:, :, :10].astype(np.float32))
    np.testing.assert_array_equal(body.J_regressor, data["J_regressor"].toarray().astype(np.float32))
    np.testing.assert_array_equal(body.faces, data["f"])
    assert body.faces.dtype == np.int64


def test_smplx_posedirs_layout():
    data = make_smpl_dict()
    flat = {**data, "posedirs": data["posedirs"].reshape(-1, 207).T}
    np.testing.assert_array_equal(
        body_assets.body_from_dict(flat, "x").posedirs, body_assets.body_from_dict(data, "x").posedirs
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v_template": None}, "no array 'v_template'"),
        ({"v_template": np.zeros((40, 2))}, r"'v_template'.*\[40, 2\]"),
        ({"posedirs": np.zeros((40, 3, 9))}, r"'posedirs'.*\[40, 3, 207\].*\[40, 3, 9\]"),
        ({"weights": np.zeros((40, 24))}, "sum to 1"),
        ({"weights": np.zeros((40, 20))}, r"'weights'.*\[40, 24\]"),
        ({"shapedirs": np.full((40, 3, 10), np.nan)}, "'shapedirs' holds NaN"),
        ({"shapedirs": np.zeros((40, 3, 4))}, r"'shapedirs'.*\[40, 3, 4\]"),
        ({"f": np.full((5, 3), 40)}, "'f' should index 40 vertices"),
        ({"kintree_table": np.zeros((2, 20))}, "24 joints"),
        ({"kintree_table": np.full((2, 24), 23)}, "parents before children"),
        ({"J_regressor": np.array(["a"])}, "'J_regressor' should be an array of numbers"),
    ],
)
def test_bad_arrays_are_named(change, message):
    data = make_smpl_dict() | change
    data = {key: value for key, value in data.items() if value is not None}
    with pytest.raises(UserError, match=message) as caught:
        body_assets.body_from_dict(data, "my.pkl")
    assert str(caught.value).startswith("my.pkl: ")


def test_arrays_of_any_kind():
    """Tensors that need gradients, of half width or sparse, and lists."""
    arrays = make_smpl_dict()
    expected = body_assets.body_from_dict(arrays, "here")
    arrays["v_template"] = torch.nn.Parameter(torch.from_numpy(arrays["v_template"]))
    arrays["J_regressor"] = torch.from_numpy(arrays["J_regressor"].toarray()).to_sparse()
    arrays["weights"] = arrays["weights"].tolist()
    arrays["posedirs"] = torch.from_numpy(arrays["posedirs"]).bfloat16()
    ours = body_assets.body_from_dict(arrays, "here")
    for name, value in expected._asdict().items():
        rounding = 0.02 if name == "posedirs" else 0  # 8 bits of numbers up to 5
        assert np.abs(getattr(ours, name) - value).max() <= rounding, name
    for odd in ([[1.0], [1.0, 2.0]], "abc", None, torch.zeros(40, 3, device="meta"), torch.zeros(40, 3).bool()):
        with pytest.raises(UserError, match="^here: 'v_template' should be an array of numbers, found "):
            body_assets.body_from_dict({**arrays, "v_template": odd}, "here")


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda rows: np.array(rows, np.uint64)])
def test_vertex_indices(kind):
    index = body_assets.check_index(kind([2, 0]), 3, "here")
    assert index.dtype == np.int64 and index.tolist() == [2, 0]
    for odd in ([0, 3], [1, 1]):
        with pytest.raises(UserError, match=r"^here: expected distinct vertex indices in 0\.\.2, found others$"):
            body_assets.check_index(kind(odd), 3, "here")


@pytest.mark.parametrize(
    "index, message",
    [
        ([-1, 0], "expected distinct vertex indices in 0..2"),
        ([0.0, 1.0], r"expected vertex indices \[V'\] \(integers\), found float64 \[2\]"),
        ([[0, 1]], r"expected vertex indices .*, found int64 \[1, 2\]"),
        ([], r"expected vertex indices .* \[0\]"),
        (1, r"expected vertex indices .* \[\]"),
        ("abc", "vertex indices should be an array of numbers, found <U3"),
        ([True, False], "vertex indices should be an array of numbers, found bool"),
        (None, "vertex indices should be an array of numbers, found object"),
    ],
)
def test_odd_vertex_indices(index, message):
    with pytest.raises(UserError, match=f"^here: {message}"):
        body_assets.check_index(index, 3, "here")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pkl"):
        body_assets.load_smpl(tmp_path / "none.pkl")
    whole = pickle.dumps(make_smpl_dict())
    cut = tmp_path / "cut.pkl"
    cut.write_bytes(whole[:5000])
    with pytest.raises(UserError, match=r"cut\.pkl.*not a complete pickle"):
        body_assets.load_smpl(cut)
    odd = tmp_path / "odd.pkl"
    odd.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match=r"odd\.pkl.*dictionary.*list"):
        body_assets.load_smpl(odd)
    archive = tmp_path / "cut.npz"
    archive.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"cut\.npz"):
        body_assets.load_smpl(archive)


def test_objects_under_keys_that_nobody_reads_are_left_alone(tmp_path):
    """np.savez(**pickle) keeps a file's other keys as objects."""
    data = make_smpl_dict()
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **data, J_regressor_prior=sparse.csc_matrix((24, 3)), vert_sym=Path("x"))
    body = body_assets.load_smpl(tmp_path / "SMPL_NEUTRAL.npz")  # whose J_regressor is an object, too
    np.testing.assert_allclose(body.J_regressor, data["J_regressor"].toarray(), rtol=1e-6)
    np.savez(tmp_path / "bad.npz", **data | {"weights": Path("x")})
    with pytest.raises(UserError, match=r"bad\.npz: 'weights': refused, the pickle asks for pathlib"):
        body_assets.load_smpl(tmp_path / "bad.npz")
