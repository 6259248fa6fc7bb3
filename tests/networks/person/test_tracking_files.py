"""Files of trackers: every documented layout reads the same, and everything that can be wrong says so in one line."""

import json
import pickle

import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from networks.person.tracking_files import SmplFits, load_face_fit, load_five_points
from torch_utils.misc import UserError

NAMES = ["b", "a"]


def make_table(seed=0, count=2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "imgname": np.array([f"photos/{name}.jpg" for name in NAMES[:count]]),
        "pose": 0.3 * random.standard_normal((count, 72)),
        "betas": random.standard_normal((count, 10)),
        "cam": np.array([[0.9, 0.1, 0.2]] * count),
        "center": np.array([[250.0, 500.0]] * count),
        "scale": np.array([5.0] * count),
    }


def record(table: dict, row: int) -> dict:
    return {key: value[row].tolist() for key, value in table.items()}


def check(fits: SmplFits, table: dict) -> None:
    assert fits.names == sorted(NAMES)
    for row, name in enumerate(NAMES):
        fit = fits.fit(name)
        expected = Rotation.from_rotvec(table["pose"][row].reshape(24, 3)).as_matrix()
        np.testing.assert_allclose(fit.rotations, expected, atol=1e-9)
        np.testing.assert_allclose(fit.betas, table["betas"][row], atol=1e-12)
        assert fit.camera.pixels_per_metre == pytest.approx(450)  # 0.9 of half of the box, 5 x 200 pixels
        np.testing.assert_allclose(fit.camera.shift, [0.1, 0.2])
        assert fit.camera.centre.tolist() == [250, 500]


@pytest.mark.parametrize(
    "layout", ["spin npz", "eft json", "list json", "named json", "pickle", "npz folder", "folder"]
)
def test_layouts(tmp_path, layout):
    table = make_table()
    records = [record(table, row) for row in range(2)]
    path = tmp_path / {"spin npz": "fits.npz", "pickle": "fits.pkl"}.get(layout, "fits.json")
    if layout == "spin npz":
        np.savez(path, part=np.zeros(7), **table)
    elif layout == "eft json":
        matrices = Rotation.from_rotvec(table["pose"].reshape(-1, 3)).as_matrix().reshape(2, 24, 3, 3)
        data = [
            {"imageName": r["imgname"], "parm_pose": m.tolist(), "parm_shape": r["betas"],
             "parm_cam": [0.9, 0.09, 0.18], "bbox_center": r["center"], "bbox_scale": r["scale"]}
            for r, m in zip(records, matrices, strict=True)
        ]  # fmt: skip
        path.write_text(json.dumps({"ver": 0.1, "data": data}))
    elif layout == "list json":
        path.write_text(json.dumps(records))
    elif layout == "named json":
        path.write_text(json.dumps({r["imgname"]: r for r in records}))
    elif layout == "pickle":
        path.write_bytes(pickle.dumps({r["imgname"]: {k: np.array(v) for k, v in r.items()} for r in records}))
    else:
        path = tmp_path
        for name, r in zip(NAMES, records, strict=True):
            if layout == "folder":
                (tmp_path / f"{name}.json").write_text(json.dumps(r))
            else:
                np.savez(tmp_path / f"{name}.npz", **{k: np.array(v)[None] for k, v in r.items() if k != "imgname"})
    check(SmplFits(path), table)


BAD_FITS = {
    "huge": ({"betas": [1e39] + [0.0] * 9}, "expected betas within +-100, found 1e+39"),
    "nan": ({"betas": [float("nan")] * 10}, "'betas': expected finite numbers, found NaN"),
    "degrees": ({"pose": [180.0] + [0.0] * 71}, "found a turn of 180.0 (degrees?)"),
    "no rotation": ({"pose": (2 * np.eye(3)).tolist() * 24}, "expected rotation matrices"),
    "mirrored": ({"pose": [np.diag([1, 1, -1]).tolist()] * 24}, "expected rotation matrices"),
    "short": ({"pose": [0.0] * 69}, "'pose': expected 72 or 216 numbers, found (69,)"),
    "scale": ({"scale": 0.0}, "expected positive scales, found camera 0.9, box 0"),
    "words": ({"cam": ["a", "b", "c"]}, "'cam': expected numbers, found list"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_records_name_the_photo_and_leave_the_others(tmp_path, case):
    change, message = BAD_FITS[case]
    table = make_table()
    good, bad = record(table, 0), record(table, 1) | change
    path = tmp_path / "fits.json"
    path.write_text(json.dumps([good, bad]))
    fits = SmplFits(path)
    assert fits.fit("b").camera.centre.tolist() == [250, 500]
    with pytest.raises(UserError) as error:
        fits.fit("a")
    assert str(error.value).startswith(f"{path}: 'a'") and message in str(error.value)


def test_missing_keys_and_names(tmp_path):
    path = tmp_path / "fits.json"
    good = record(make_table(), 0)
    path.write_text(json.dumps([{k: v for k, v in good.items() if k != "pose"}]))
    with pytest.raises(UserError, match=r"no 'pose' \(or .* or global_orient with body_pose\); it has: betas"):
        SmplFits(path).fit("b")
    for key in ("cam", "scale"):  # where the person is, is not known then
        path.write_text(json.dumps([{k: v for k, v in good.items() if k != key}]))
        assert SmplFits(path).fit("b").camera is None
    with pytest.raises(UserError, match="expected one SMPL fit of 'c', found none"):
        SmplFits(path).fit("c")
    path.write_text(json.dumps([good, good]))
    with pytest.raises(UserError, match="expected one SMPL fit of 'b', found 2"):
        SmplFits(path).fit("b")
    path.write_text(json.dumps([{"pose": 1}]))
    with pytest.raises(UserError, match="record 0: expected a photo's name in 'imgname'"):
        SmplFits(path)


def test_bad_fit_files(tmp_path):
    for name, content, message in (
        ("no.json", None, "no such file of SMPL fits"),
        ("half.json", b'{"a": ', "damaged or cut short"),
        ("half.npz", b"PK\x03\x04rest", "not a readable .npz archive"),
        ("fits.csv", b"a,b", "expected SMPL fits as .npz, .json, .pkl, .npy, found '.csv'"),
        ("number.json", b"3", "expected a table, list or mapping"),
        ("empty.json", b"[]", "expected SMPL fits"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match="^" + str(path)) as error:
            SmplFits(path)
        assert message in str(error.value)
    np.savez(tmp_path / "smpl.npz", v_template=np.zeros((3, 3)), f=np.zeros((1, 3)))
    with pytest.raises(UserError, match="expected SMPL fits, found a file of: f, v_template"):
        SmplFits(tmp_path / "smpl.npz")
    table = make_table()
    np.savez(tmp_path / "short.npz", **table | {"pose": table["pose"][:1]})
    with pytest.raises(UserError, match="'pose': expected 2 rows"):
        SmplFits(tmp_path / "short.npz")


def make_mat() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    sizes = {"id": 80, "exp": 64, "tex": 80, "angle": 3, "gamma": 27, "trans": 3}
    return {name: 0.5 * random.standard_normal((1, size)) for name, size in sizes.items()}


def test_face_coefficients_in_both_layouts(tmp_path):
    mat = make_mat()
    savemat(tmp_path / "a.mat", mat | {"lm68": np.zeros((1, 68, 2))})
    savemat(tmp_path / "b.mat", {"coeff": np.concatenate(list(mat.values()), 1)})
    for name in ("a", "b"):
        fit = load_face_fit(tmp_path / f"{name}.mat")
        for found, key in zip(fit, ("id", "exp", "angle", "trans"), strict=True):
            assert np.array_equal(found, mat[key][0])


def test_bad_face_files(tmp_path):
    mat = make_mat()
    cases = {
        "nan": (mat | {"exp": np.full((1, 64), np.nan)}, "'exp': expected finite numbers"),
        "degrees": (
            mat | {"angle": np.array([[3.0, -20.0, 0.5]])},
            "expected radians within +-pi, found 20.0 (degrees?)",
        ),
        "short": (mat | {"id": np.zeros((1, 79))}, "'id': expected 80 numbers, found (1, 79)"),
        "wild": (mat | {"id": np.full((1, 80), 1e4)}, "expected coefficients within +-100, found 10000"),
        "keys": ({"angle": mat["angle"]}, "no array 'id' (it has: angle)"),
        "coeff": ({"coeff": np.zeros((1, 256))}, "'coeff': expected 257 numbers"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / f"{name}.mat"
        savemat(path, content)
        with pytest.raises(UserError) as error:
            load_face_fit(path)
        assert str(error.value).startswith(str(path)) and message in str(error.value)
    (tmp_path / "half.mat").write_bytes((tmp_path / "nan.mat").read_bytes()[:300])
    with pytest.raises(UserError, match="half.mat: not a readable MATLAB file"):
        load_face_fit(tmp_path / "half.mat")
    with pytest.raises(UserError, match="no.mat: no such file"):
        load_face_fit(tmp_path / "no.mat")


def test_five_points_of_a_text_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 2\n3,4\n5\t6\n7 8\n9 10.5\n")
    assert load_five_points(path).tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]
    for text, message in (
        ("1 2 3", "expected 10 numbers"),
        ("a b", "expected five lines 'x y'"),
        ("1 2\n" * 4 + "1 nan", "finite"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load_five_points(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="expected five lines"):
        load_five_points(path)
