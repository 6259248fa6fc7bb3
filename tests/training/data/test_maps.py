"""Depth and normal maps: closed forms, where the pictures show somebody, files, damage, reading."""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from networks.person.body_model import HEAD
from networks.person.open_body import parts
from tests.training.data.sets import add_items, make_dataset, make_maps, make_png, make_writer
from tests.training.data.synthetic.meshes import FRONT, make_sphere
from tests.training.data.test_synthesize import files_in, run
from torch_utils.misc import UserError
from training.data.checks import Findings, check_dataset
from training.data.layout import MAPS
from training.data.maps import DEPTH_STEP, decode_depth, decode_normals, depth_pixels, map_fault, normal_pixels
from training.data.mirror import LabelMirror
from training.data.picture_checks import check_pictures
from training.data.reader import PortraitReader
from training.data.storage import open_dataset
from training.data.synthetic import PosedPerson, SyntheticPerson, draw, sample_identity
from training.data.synthetic.drawing import FOV_DEGREES, camera_view, project
from training.data.synthetic.portrait import make_portrait
from training.data.synthetic.surface import NUM_ATTRIBUTES, Surface

CAMERA = (1.7, 1.3)


def flat_shader(material, attributes, pixel):
    """Everything grey, everything opaque."""
    return np.full((len(material), 3), 0.5), np.ones(len(material))


def somebody_of(*meshes: tuple[np.ndarray, np.ndarray]) -> PosedPerson:
    """Something to draw that consists of (vertices, faces)."""
    surfaces = [Surface(v, f, np.full(len(f), parts.SKIN), np.zeros((len(v), NUM_ATTRIBUTES))) for v, f in meshes]
    return PosedPerson(surfaces, flat_shader, np.zeros((68, 3)))


def pixel_rays(size: int) -> np.ndarray:
    """[size, size, 3] through the pixels' centres in the camera's axes, 1 along the optical axis."""
    plane = np.linspace(-1, 1, size) * np.tan(np.radians(FOV_DEGREES) / 2)
    x, y = np.meshgrid(plane, -plane)
    return np.stack([x, y, -np.ones_like(x)], -1)


def test_a_plane_has_the_depth_of_its_equation():
    view, normal = camera_view(CAMERA), np.array([0.3, 0.4, 0.866025])  # in the camera's axes
    normal /= np.linalg.norm(normal)
    middle, side = np.array([0.0, 0.0, -1.8]), np.cross((0.0, 1.0, 0.0), normal)
    across = np.cross(normal, side)
    corners = middle + np.array([-side - across, side - across, side + across, across - side])
    world = corners @ view.rotation.T + view.origin
    maps = draw(somebody_of((world, np.array([[0, 1, 2], [0, 2, 3]]))), CAMERA, 33, maps=True).maps
    expected = (normal @ middle) / (pixel_rays(33) @ normal)  # distance along -z at which the ray meets the plane
    np.testing.assert_allclose(maps.depth, expected, atol=1e-12)
    np.testing.assert_allclose(maps.normals, np.broadcast_to(normal, maps.normals.shape), atol=1e-6)  # float32 normals


def test_a_sphere_is_round():
    mesh, size, radius = make_sphere(0.1), 65, 0.1
    view = camera_view(CAMERA)
    maps = draw(somebody_of((mesh.vertices.astype(np.float64), mesh.faces)), CAMERA, size, maps=True).maps
    rays, centre = pixel_rays(size), -view.origin @ view.rotation
    a, b = (rays * rays).sum(-1), rays @ centre
    root = b * b - a * (centre @ centre - radius * radius)
    inside = root > 0.05 * root.max()  # away from the rim, where facets show
    along = (b - np.sqrt(np.maximum(root, 0))) / a
    expected = (along[..., None] * rays - centre) / radius
    # facets of 3 degrees lie up to 1e-4 units under the sphere, more where it is seen aslant
    np.testing.assert_allclose(maps.depth[inside], along[inside], atol=6e-4)
    np.testing.assert_allclose(maps.normals[inside], expected[inside], atol=0.01)
    somebody = maps.depth > 0
    np.testing.assert_allclose(np.linalg.norm(maps.normals[somebody], axis=-1), 1, atol=1e-9)
    assert not maps.normals[~somebody].any()


@pytest.fixture(scope="module")
def person():
    identity = sample_identity(np.random.default_rng(1))
    return SyntheticPerson(identity.z_id, identity.eps, identity.betas)


@pytest.mark.parametrize("kind", ["portrait", "face"])
def test_a_vertex_is_as_far_as_the_camera_says(person, kind):
    """The person is shifted so that a landmark lies on a pixel's centre; the stored depth is exact to half a step."""
    posed, size, head = (
        person.posed(np.zeros(64), np.zeros((6, 3))),
        64,
        person.joint_transforms(np.zeros((6, 3)))[HEAD],
    )
    view = camera_view(FRONT, kind, head if kind == "face" else None)
    for mark in (30, 8, 27):  # nose, chin, bridge
        point = posed.landmarks[mark]
        pixel, ahead = project(point[None], view, size)
        column, row = np.rint(pixel[0]).astype(int)
        wanted = view.rotation @ (pixel_rays(size)[row, column] * ahead) + view.origin
        moved = [surface._replace(vertices=surface.vertices + (wanted - point)) for surface in posed.surfaces]
        picture = draw(posed._replace(surfaces=moved), FRONT, size, kind, head if kind == "face" else None, maps=True)
        stored = depth_pixels(picture.maps.depth)[row, column]
        assert abs(stored - ahead[0] / DEPTH_STEP) <= 0.5 + 1e-6


def test_hair_and_clothes_are_in_front(person):
    posed = person.posed(np.zeros(64), np.zeros((6, 3)))
    bare = posed._replace(surfaces=posed.surfaces[:1])
    both, skin = (draw(each, FRONT, 96, maps=True) for each in (posed, bare))
    shown = skin.maps.depth > 0
    assert (both.maps.depth[shown] <= skin.maps.depth[shown] + 1e-9).mean() > 0.99  # but for the rim
    nearer = shown & (both.maps.depth < skin.maps.depth - 0.0005)
    assert nearer[:48].sum() > 100 and nearer[72:].sum() > 100  # hair above, cloth below
    assert (both.maps.normals[..., 2] > 0).mean() > 0.95 * (both.maps.depth > 0).mean()  # towards the camera


@pytest.mark.parametrize("views", ["front", "all"])
def test_maps_of_a_portrait(views):
    """Pictures and labels are those of a set without maps; depth is 0 exactly where the mask is."""
    plain = make_portrait(3, 2, size=96, face_size=48, views=views)
    portrait = make_portrait(3, 2, size=96, face_size=48, views=views, maps=True)
    assert plain.maps == {} and plain[:3] == portrait[:3] and list(portrait.maps) == list(MAPS)
    depth = decode_depth(portrait.maps["depth"], 96, "d")
    normals = decode_normals(portrait.maps["normals"], 96, "n")
    mask = np.asarray(Image.open(io.BytesIO(portrait.mask_png)))
    np.testing.assert_array_equal(depth > 0, mask > 0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), mask > 0, atol=1e-6)
    assert depth[mask > 0].min() > 1.4 and depth.max() < 2.4  # the camera is 1.9 units away
    face = decode_depth(portrait.maps["face_depth"], 48, "f")
    white = (np.asarray(Image.open(io.BytesIO(portrait.face_png))) == 255).all(-1)
    assert white[face == 0].all() and face[face > 0].min() > 0.7 and face.max() < 1.4


def test_pixels_of_depth_and_normals():
    step = 0.0001 / 1.1775
    np.testing.assert_array_equal(depth_pixels(np.array([[0, step, 2.4 * step, 9.0]])), [[0, 1, 2, 65535]])
    normals = np.array([[[0, 0, 0], [0, 0, 1], [-1, 0, 0], [0.96, -0.28, 0]]])
    pixels = normal_pixels(normals)
    np.testing.assert_array_equal(pixels, [[[0, 0, 0], [128, 128, 255], [0, 128, 128], [250, 92, 128]]])
    square = np.tile(pixels, (4, 1, 1))
    np.testing.assert_allclose(decode_normals(make_png(square), 4, "n")[0], normals[0], atol=0.006)  # half a step


def test_faults_of_maps():
    depth, mask = np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.uint8)
    normals = np.zeros((4, 4, 3), np.uint8)
    depth[1, 1:3], mask[1, 1:3], normals[1, 1:3] = 20000, 3, (128, 128, 255)
    assert map_fault(depth, normals, mask) is None and map_fault(depth, normals, None) is None
    mask[0, 0] = 1
    assert map_fault(depth, normals, mask) == "expected depth where the mask is not 0, found 1 other pixels"
    normals[1, 1] = (255, 255, 255)
    assert map_fault(depth, normals, None) == ("expected normals of length 1, found 1 of other lengths, such as 1.73")
    normals[1, 1] = 0
    assert map_fault(depth, normals, None) == "expected depth and normals at the same pixels, found 1 with one of them"


# ---- in a data set ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "set.zip"])
def test_round_trip_and_checks(tmp_path, kind):
    dataset = open_dataset(make_dataset(tmp_path / kind, 3, maps=True))
    assert dataset.has_maps and not open_dataset(make_dataset(tmp_path / "plain", 3)).has_maps
    for index in range(3):
        maps = make_maps(index, 16, 8)
        read = (
            dataset.read_depth(index),
            dataset.read_normals(index),
            dataset.read_depth(index, face=True),
            dataset.read_normals(index, face=True),
        )
        assert list(read) == [make_png(maps[name]) for name in MAPS]
    findings = check_dataset(dataset)
    check_pictures(dataset, findings)
    assert findings.errors == []
    with pytest.raises(UserError, match="plain: no file|plain/depth/000001.png: cannot be read"):
        open_dataset(tmp_path / "plain").read_depth(1)


def test_all_items_have_maps_or_none(tmp_path):
    with make_writer(tmp_path / "a") as writer:
        add_items(writer, [0], maps=True)
        with pytest.raises(UserError, match=r"item 1: expected the pictures \['images', 'faces', 'masks', 'depth'"):
            add_items(writer, [1])


@pytest.mark.parametrize(
    "name, pixels, message",
    [
        ("depth", np.zeros((16, 16), np.uint8), "depth/000001.png: expected a 16-bit grey picture, found 8-bit grey"),
        (
            "normals",
            np.zeros((16, 16), np.uint8),
            "normals/000001.png: expected an 8-bit RGB picture",
        ),
        ("face_depth", np.ones((16, 16), np.uint16), "face_depth/000001.png: expected 8 x 8 pixels, found 16 x 16"),
        (
            "normals",
            np.zeros((16, 16, 3), np.uint8),
            "depth/000001.png, normals/000001.png: expected depth and",
        ),
        (
            "face_normals",
            np.full((8, 8, 3), 9, np.uint8),
            "000001.png: expected normals of length 1, found 64",
        ),
        (None, None, "face_normals/000001.png is missing; images/000001.png is there"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, pixels, message):
    path = make_dataset(tmp_path / "set", 2, maps=True)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    if name is None:
        (path / "face_normals/000001.png").unlink()
        del manifest["files"]["face_normals/000001.png"]
    else:
        file = path / name / "000001.png"
        file.write_bytes(make_png(pixels))
        manifest["files"][f"{name}/000001.png"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    findings = check_dataset(open_dataset(path))
    check_pictures(open_dataset(path), findings)
    assert len(findings.errors) == 1 and message in findings.errors[0], findings.errors


@pytest.mark.parametrize("mirror", [None, LabelMirror(None, None, None)])
def test_the_reader_turns_maps_with_the_pictures(tmp_path, mirror):
    dataset = open_dataset(make_dataset(tmp_path / "set", 5, maps=True))
    reader, flips = PortraitReader(dataset, 4, seed=1, mirror=mirror, workers=0, maps=True), set()
    for batch in (next(reader) for _ in range(3)):
        assert list(batch.maps) == list(MAPS)
        assert batch.maps["depth"].shape == (4, 16, 16) and batch.maps["face_normals"].shape == (4, 3, 8, 8)
        for slot, (row, flipped) in enumerate(zip(batch.index.tolist(), batch.flipped.tolist(), strict=True)):
            maps = make_maps(row, 16, 8)
            depth = torch.from_numpy(maps["depth"] * DEPTH_STEP).float()
            normals = torch.from_numpy(maps["face_normals"] / 127.5 - 1).float().permute(2, 0, 1)
            normals = normals / normals.norm(dim=0)
            if flipped:
                depth, normals = depth.flip(-1), normals.flip(-1) * torch.tensor([-1.0, 1, 1]).view(3, 1, 1)
            torch.testing.assert_close(batch.maps["depth"][slot], depth)
            torch.testing.assert_close(batch.maps["face_normals"][slot], normals)
            flips.add(flipped)
    assert flips == ({False} if mirror is None else {False, True})


def test_a_reader_of_maps_needs_them(tmp_path):
    dataset = open_dataset(make_dataset(tmp_path / "set", 2))
    with pytest.raises(UserError, match="set: expected depth and normals, found none"):
        PortraitReader(dataset, 2, seed=0, mirror=None, maps=True)


def test_the_command_makes_them(tmp_path):
    """In a folder and, the same files, in a zip; a set begun without them is not continued with them."""
    run(tmp_path / "set", num=2, workers=0, maps=True)
    run(tmp_path / "zipped", num=2, workers=0, maps=True, zip=True)
    dataset, zipped = open_dataset(tmp_path / "set"), open_dataset(tmp_path / "zipped.zip")
    assert dataset.checksum == zipped.checksum and "--maps" in dataset.manifest["made_by"]
    assert {name.split("/")[0] for name in files_in(tmp_path / "set") if "/" in name} == {
        "images", "faces", "masks", *MAPS,
    }  # fmt: skip
    findings = Findings([], [])
    check_pictures(dataset, findings)
    assert findings.errors == []
    with pytest.raises(UserError, match="made with other settings"):
        run(tmp_path / "set", num=2, workers=0)
