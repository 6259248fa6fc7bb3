"""Bodies in SMPL's layout: the open one, files, and the head-and-shoulder rule."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from networks.person import body_assets
from networks.person.open_body.parts import PARENTS
from torch_utils.misc import UserError

GOLDEN_BODY = Path(__file__).parents[3].parent / "shared" / "golden" / "body.npz"


@pytest.fixture(scope="module")
def body():
    return body_assets.default_body()


def make_smpl_dict(count: int = 40, seed: int = 0) -> dict:
    """Random arrays under a real file's keys, 300 shape directions, sparse regressor, uint32 tree."""
    rng = np.random.default_rng(seed)
    weights = rng.random((count, 24))
    parents = PARENTS.astype(np.uint32)
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


def test_head_shoulder_rule(body):
    """Of head, neck, shoulders, chest and back every vertex, or one within a cell of 8 mm; nothing else."""
    index = body_assets.head_shoulder_vertices(body)
    assert index.dtype == np.int64 and len(index) < 4000
    assert (np.diff(index) > 0).all()
    v = body.v_template
    wanted = (v[:, 1] > 0.30) | ((v[:, 1] > 0.10) & (np.abs(v[:, 0]) < 0.21))
    assert cKDTree(v[index]).query(v[wanted])[0].max() < 0.0139  # the cell's diagonal
    assert v[index, 1].min() > -0.10
    assert np.abs(v[index, 0]).max() < 0.25


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
    np.testing.assert_array_equal(body.parents, PARENTS)
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
