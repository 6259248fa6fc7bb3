"""The files that scenes travel in, and the person who does."""

import json
import zipfile

import numpy as np
import pytest
from scipy.spatial import cKDTree

from torch_utils.misc import UserError
from training.data.cycles.exchange import Scene, Strands, read_scene, write_scene
from training.data.cycles.geometry import Mesh
from training.data.cycles.scene import person_scene
from training.data.synthetic.drawing import camera_view
from training.data.synthetic.figure import figure
from training.data.synthetic.mesh import MM
from training.data.synthetic.portrait import sit

SETTINGS = {
    "seed": 3, "samples": 4, "threads": 1, "panorama": None, "mm": MM, "maps": False,
    "lights": [{"direction": [0.0, 0.6, 0.8], "colour": [1.0, 1.0, 1.0], "strength": 1.0}],
    "sky": {"yaw": 0.1, "strength": 0.9, "warmth": 0.0},
    "cameras": {"image": {"size": 32, "tangent": 0.105, "rotation": np.eye(3).tolist(), "origin": [0.0, 0.0, 2.0]}},
}  # fmt: skip


def make_scene() -> Scene:
    rng = np.random.default_rng(0)
    mesh = Mesh(
        rng.random((5, 3)), np.array([[0, 1, 2], [2, 3, 4]]), {"albedo": rng.random((5, 3)), "gloss": rng.random(5)}
    )
    strands = Strands(rng.random((4, 6, 3)), rng.random((4, 6)), rng.random((4, 3)))
    return Scene({"skin": ("skin", mesh)}, {"hair": ("hair", strands)}, dict(SETTINGS))


def test_round_trip(tmp_path):
    scene = make_scene()
    write_scene(scene, tmp_path / "000001")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000001.json", "000001.npz"]
    found = read_scene(tmp_path / "000001")
    assert found.settings == scene.settings
    (material, mesh), (_, ours) = found.meshes["skin"], scene.meshes["skin"]
    assert material == "skin" and mesh.values.keys() == ours.values.keys()
    np.testing.assert_array_equal(mesh.faces, ours.faces)
    for a, b in [(mesh.vertices, ours.vertices), *zip(mesh.values.values(), ours.values.values(), strict=True)]:
        np.testing.assert_array_equal(a, b.astype(np.float32))
    for a, b in zip(found.strands["hair"][1], scene.strands["hair"][1], strict=True):
        np.testing.assert_array_equal(a, b.astype(np.float32))


def test_no_pickles(tmp_path):
    write_scene(make_scene(), tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        headers = [archive.read(name)[:80] for name in archive.namelist()]
    assert len(headers) == 7 and all(b"'<f4'" in header or b"'<i4'" in header for header in headers)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda mesh, strands, settings: settings.pop("sky"), "missing or unknown: sky"),
        (lambda mesh, strands, settings: settings.update(fog=1), "missing or unknown: fog"),
        (lambda mesh, strands, settings: mesh.faces.__setitem__((0, 0), 9), "mesh 'skin': a face names a vertex"),
        (lambda mesh, strands, settings: mesh.vertices.__setitem__((0, 0), np.nan), "'mesh/skin/vertices' holds NaN"),
        (lambda mesh, strands, settings: mesh.values.update(albedo=np.zeros((4, 3))), "albedo': expected 5 rows"),
        (
            lambda mesh, strands, settings: mesh.values.update(albedo=np.zeros((5, 2))),
            r"rows of 1 or 3, found \[5, 2\]",
        ),
        (
            lambda mesh, strands, settings: strands.radius.resize((4, 5), refcheck=False),
            "strands 'hair': expected points",
        ),
    ],
)
def test_a_scene_that_is_none_is_not_written(tmp_path, spoil, message):
    scene = make_scene()
    spoil(scene.meshes["skin"][1], scene.strands["hair"][1], scene.settings)
    with pytest.raises(UserError, match=message):
        write_scene(scene, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named(tmp_path):
    write_scene(make_scene(), tmp_path / "a")
    described = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(described | {"format": 2}))
    with pytest.raises(UserError, match="a: expected a scene of format 1, found 2"):
        read_scene(tmp_path / "a")
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="a: not a readable scene"):
        read_scene(tmp_path / "a")


# ---- a person --------------------------------------------------------------------------------------------------------


def scene_of(index: int) -> tuple[Scene, object]:
    sitting = sit(11, index)
    views = {"image": (camera_view(sitting.camera), 128)}
    settings = {"seed": 0, "samples": 4, "threads": 1, "panorama": None, "maps": False}
    return person_scene(sitting.posed, views, np.random.default_rng([11, index, 2]), **settings), sitting


@pytest.fixture(scope="module")
def long_haired():
    return scene_of(3)


def test_the_hand_over_is_deterministic(long_haired, tmp_path):
    write_scene(long_haired[0], tmp_path / "a")
    write_scene(scene_of(3)[0], tmp_path / "b")
    for suffix in (".json", ".npz"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_the_scene_is_the_drawn_person(long_haired):
    """Landmarks of the face are on its skin, but for the depth of wrinkles; the camera is the label's."""
    scene, sitting = long_haired
    assert set(scene.meshes) == {"skin", "inside", "eyes", "cornea", "teeth", "tongue", "shirt", "collar", "core"}
    assert {"brows", "lashes", "hair"} <= set(scene.strands)
    skin = np.concatenate([scene.meshes[name][1].vertices for name in ("skin", "inside")])
    body = sitting.posed.surfaces[0]
    marks = body.vertices[figure().landmarks]
    gaps = np.linalg.norm(marks[:, None] - skin[None], axis=-1).min(1) / MM
    assert np.median(gaps) < 0.2 and gaps.max() < 1.5
    np.testing.assert_allclose(scene.settings["cameras"]["image"]["origin"], camera_view(sitting.camera).origin)
    eyes = scene.meshes["eyes"][1]
    dark = eyes.vertices[eyes.values["albedo"].max(1) < 0.02]  # pupils
    assert len(dark) and np.abs(np.abs(dark[:, 0]).mean() / MM - 31) < 6


def test_hair_stays_outside(long_haired):
    """Behind the roots hardly a point of a strand lies deeper than 2 mm in skin or cloth."""
    scene, _ = long_haired
    points = scene.strands["hair"][1].points[:, 2:].reshape(-1, 3)
    for name in ("skin", "shirt"):
        mesh = scene.meshes[name][1]
        near, index = cKDTree(mesh.vertices).query(points[::7])
        inside = -((points[::7] - mesh.vertices[index]) * mesh.normals()[index]).sum(1) / MM
        deep = (inside > 2.0) & (near < 10 * MM)
        assert deep.mean() < 0.01, (name, deep.mean(), inside.max())
