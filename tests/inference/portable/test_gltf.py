"""Avatars as glTF files, read back by glTF's own rules, by trimesh and by the Khronos validator."""

import dataclasses
import io

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from inference.keyframes import interpolate, load_keyframes
from inference.motions import KEYFRAMES, MOTIONS
from inference.portable.avatar import POSED
from inference.portable.binary import Binary, from_container
from inference.portable.clips import load_clip
from inference.portable.gltf import CAMERA_NODE, METRES, to_glb
from networks.cameras import PORTRAIT_CAMERA, project
from networks.person.body_model import euler_to_matrix
from networks.person.expressions import ARKIT, columns_of
from tests.inference.portable.gltf_reader import Gltf
from tests.inference.portable.khronos import validation
from tests.inference.portable.made_up import NO_CORRECTIVES, make_avatar

NAN = float("nan")
ROUNDING = 1e-6  # of float32, metres


def make_clip(index=1):
    title, files, n_interval, fps = MOTIONS[index]
    return load_clip(title, files, ARKIT, n_interval=n_interval, fps=fps)


# ---- the mesh -----------------------------------------------------------------------------------------------------


def test_a_unit_is_a_metre():
    assert abs(METRES - 1.1775) < 1e-4  # networks/cameras.py says how large a canonical unit is


def test_the_mesh_is_the_avatar_s():
    avatar = make_avatar()
    file = Gltf(to_glb(avatar).glb)
    np.testing.assert_allclose(file.vertices(), METRES * avatar.vertices.numpy(), atol=ROUNDING)
    assert np.array_equal(file.attribute("TEXCOORD_0"), avatar.uv.numpy())
    # In the order to draw them, and in one primitive: nothing else keeps the order of layers.
    assert np.array_equal(file.accessor(file.primitive["indices"]).reshape(-1, 3), avatar.triangles.numpy())
    [material] = file.document["materials"]
    assert material["alphaMode"] == "BLEND" and "KHR_materials_unlit" in material["extensions"]
    extras = file.document["asset"]["extras"]
    assert extras["about"].startswith("synthetic person") and extras["seed"] == 3
    assert extras["digitalSourceType"].endswith("/trainedAlgorithmicMedia")


def test_blendshapes_and_joints_move_it_as_the_avatar_says():
    avatar = make_avatar()
    file = Gltf(to_glb(avatar).glb)
    amounts = {"jawOpen": 0.5, "mouthSmileLeft": 0.8, "browInnerUp": 1.0}
    eulers = 0.3 * torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotations = euler_to_matrix(eulers)
    turns = {name: Rotation.from_matrix(turn.numpy()).as_quat() for name, turn in zip(POSED, rotations, strict=True)}
    found = file.vertices(amounts, turns)
    # sum_i w_i T_i (v + sum_t a_t m_t), joints turning about their places with all that hangs on them.
    shaped = avatar.vertices.double() + sum(
        amounts[name] * morph.double() for name, morph in zip(avatar.morph_names, avatar.morphs, strict=True)
    )
    transforms = [torch.eye(4, dtype=torch.float64)]
    for joint, turn in enumerate(rotations, 1):
        place = avatar.joint_positions[joint].double()
        own = torch.eye(4, dtype=torch.float64)
        own[:3, :3], own[:3, 3] = turn, place - turn @ place
        transforms.append(transforms[avatar.joint_parents[joint]] @ own)
    moved = torch.stack(transforms)[avatar.joints.long()]  # [V, 4, 4, 4]
    blended = (avatar.weights.double()[..., None, None] * moved).sum(1)
    expected = (blended[:, :3, :3] @ shaped[..., None])[..., 0] + blended[:, :3, 3]
    np.testing.assert_allclose(found, METRES * expected.numpy(), atol=ROUNDING)
    assert np.abs(found - file.vertices()).max() > 0.01


def test_only_what_moves_is_stored():
    avatar = make_avatar()
    morphs = torch.cat([avatar.morphs, torch.full_like(avatar.morphs[:1], 1e-6)])
    names, correction = (*avatar.morph_names, "cheekPuff"), torch.nn.functional.pad(avatar.correction, (0, 1, 0, 1))
    avatar = dataclasses.replace(avatar, morphs=morphs, morph_names=names, correction=correction)
    found = to_glb(avatar)
    file = Gltf(found.glb)
    assert found.targets == ["jawOpen", "mouthSmileLeft", "browInnerUp"]
    extras = file.mesh["extras"]
    assert extras["targetNames"] == [*found.targets, "corrective_0"]
    assert extras["correctives"]["of"] == list(names) and extras["correctives"]["forms"] == correction.tolist()
    assert found.still == ["cheekPuff"]
    counts = [file.document["accessors"][t["POSITION"]]["sparse"]["count"] for t in file.primitive["targets"]]
    assert counts == (torch.cat([morphs[:3], avatar.correctives]).norm(dim=-1) > 0).sum(1).tolist()


def test_small_moves_beside_large_ones_are_not_stored():
    """Beside two centimetres 0.7 millimetres count; beside 0.9, two fifths of them; beside 0.2, a tenth of one."""
    avatar = make_avatar()
    moves = torch.zeros(3, len(avatar.vertices), 3)
    millimetres = torch.tensor([[20, 0.71, 0.69, 0.2], [0.9, 0.37, 0.35, 0.1], [0.2, 0.11, 0.09, 0.05]])
    moves[:, :4, 1] = millimetres / 1e3 / METRES
    file = Gltf(to_glb(dataclasses.replace(avatar, morphs=moves, **NO_CORRECTIVES)).glb)
    counts = [file.document["accessors"][t["POSITION"]]["sparse"]["count"] for t in file.primitive["targets"]]
    assert counts == [2, 2, 2]


def test_an_avatar_without_expressions():
    avatar = make_avatar()
    none = {"morphs": avatar.morphs[:0], "morph_names": (), "correctives": avatar.correctives[:0]}
    found = to_glb(dataclasses.replace(avatar, **none, correction=torch.zeros(0, 1, 1)), [make_clip()])
    file = Gltf(found.glb)
    assert "targets" not in file.primitive and "weights" not in file.mesh
    assert found.targets == found.still == []
    paths = {channel["target"]["path"] for channel in file.document["animations"][0]["channels"]}
    assert paths == {"rotation", "translation"}


@pytest.mark.parametrize("texture", ["png", "webp"])
def test_textures(texture):
    across, down = np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48))
    atlas = np.stack([across, down, 255 - across, np.minimum(across + down, 255)], -1).astype(np.uint8)
    file = Gltf(to_glb(dataclasses.replace(make_avatar(), atlas=torch.from_numpy(atlas)), texture=texture).glb)
    [image] = file.document["images"]
    picture = Image.open(io.BytesIO(file.view(image["bufferView"])))
    assert picture.format == texture.upper() and image["mimeType"] == f"image/{texture}"
    # WebP loses a little of the colours and nothing of the opacity.
    error = np.abs(np.asarray(picture.convert("RGBA")).astype(int) - atlas)
    assert error[..., 3].max() == 0
    assert error.max() == 0 if texture == "png" else error.mean() < 3  # of 255, at quality 95
    required = {"png": None, "webp": ["EXT_texture_webp"]}[texture]
    assert file.document.get("extensionsRequired") == required


# ---- the camera and motions ---------------------------------------------------------------------------------------


def test_the_camera_sees_what_the_portrait_camera_sees():
    size = 64
    file = Gltf(to_glb(make_avatar(), image_size=size).glb)
    lens = file.document["cameras"][0]["perspective"]
    world = file.worlds({})[file.node(CAMERA_NODE)]
    points = make_avatar().vertices
    local = np.linalg.inv(world) @ np.concatenate([METRES * points.numpy(), np.ones((len(points), 1))], 1).T
    seen = (local[:2] / -local[2] / np.tan(lens["yfov"] / 2)).T  # -1..1 between the picture's edges
    front = torch.full((1, 2), torch.pi / 2)
    expected = project(points[None], front, PORTRAIT_CAMERA)[0, :, :2].numpy()  # between the outer pixels' centres
    np.testing.assert_allclose(seen, expected * (size - 1) / size, atol=1e-5)


def test_motions_are_the_keyframes():
    avatar = make_avatar()
    file = Gltf(to_glb(avatar, [make_clip(0), make_clip(1)]).glb)
    poses, talk = file.document["animations"]
    assert (poses["name"], talk["name"]) == ("Expressions and poses", "Talk")

    def track(animation, path, node):
        [channel] = [c for c in animation["channels"] if c["target"] == {"path": path, "node": file.node(node)}]
        sampler = animation["samplers"][channel["sampler"]]
        assert sampler["interpolation"] == "LINEAR"
        return file.accessor(sampler["input"]), file.accessor(sampler["output"])

    rows = interpolate(load_keyframes(KEYFRAMES / "expression.npz", "expression"), "expression", 8)
    seconds, weights = track(poses, "weights", "person")
    np.testing.assert_allclose(seconds, np.arange(12 * 8 + 1) / 20, rtol=1e-6)
    columns = [columns_of(name)[0] for name in avatar.morph_names]
    expected = np.concatenate([rows, rows[:1]])[:, columns]
    np.testing.assert_allclose(weights.reshape(-1, 4)[:, :3], expected, atol=1e-6)
    # The corrective follows from the others: twice the product of jaw and smile.
    follows = (2 * expected[:, 0] * expected[:, 1]).clip(max=1)
    np.testing.assert_allclose(weights.reshape(-1, 4)[:, 3], follows, atol=1e-6)
    _, turns = track(poses, "rotation", "head")
    eulers = interpolate(load_keyframes(KEYFRAMES / "pose.npy", "pose"), "pose", 8)[:, 3]
    found = Rotation.from_quat(turns[:-1]).as_matrix()
    np.testing.assert_allclose(found, euler_to_matrix(torch.from_numpy(eulers)).numpy(), atol=1e-6)
    seconds, places = track(talk, "translation", CAMERA_NODE)
    assert seconds[-1] == 8 and len(places) == 101
    # Cameras ride on a sphere about what they look at.
    centre = np.array(file.document["nodes"][file.node(CAMERA_NODE)]["extras"]["target"])
    np.testing.assert_allclose(np.linalg.norm(places - centre, axis=1), METRES * PORTRAIT_CAMERA.radius, rtol=1e-6)


def test_what_rests_has_no_track(tmp_path):
    np.save(tmp_path / "still.npy", np.zeros((3, 6, 3)))
    clip = load_clip("still", {"pose": tmp_path / "still.npy"}, ARKIT, n_interval=2, fps=10)
    assert "animations" not in Gltf(to_glb(make_avatar(), [clip]).glb).document
    np.save(tmp_path / "bowed.npy", np.full((1, 6, 3), 0.1))  # a single keyframe holds still, but not at rest
    clip = load_clip("bowed", {"pose": tmp_path / "bowed.npy"}, ARKIT, n_interval=2, fps=10)
    [animation] = Gltf(to_glb(make_avatar(), [clip]).glb).document["animations"]
    assert len(animation["channels"]) == 6


# ---- other programs -----------------------------------------------------------------------------------------------


def test_trimesh_reads_it(tmp_path):
    avatar = make_avatar()
    path = tmp_path / "person.glb"
    path.write_bytes(to_glb(avatar, [make_clip()]).glb)
    [mesh] = trimesh.load_scene(path, process=False).geometry.values()
    np.testing.assert_allclose(mesh.vertices, METRES * avatar.vertices.numpy(), atol=ROUNDING)
    assert np.array_equal(mesh.faces, avatar.triangles.numpy())
    assert np.array_equal(np.asarray(mesh.visual.material.baseColorTexture), avatar.atlas.numpy())


@pytest.mark.parametrize("texture", ["png", "webp"])
def test_the_khronos_validator_finds_nothing(texture):
    glb = to_glb(make_avatar(side=5), [make_clip(i) for i in range(len(MOTIONS))], texture=texture).glb
    assert validation(glb) == []


# ---- the container ------------------------------------------------------------------------------------------------


def test_sparse_accessors_bound_their_zeros():
    binary = Binary()
    values = np.zeros((5, 3), np.float32)
    values[[1, 4]] = [[1, -2, 3], [2, -1, 4]]
    binary.sparse(values, np.array([1, 4]))
    assert binary.accessors[0]["min"] == [0, -2, 0] and binary.accessors[0]["max"] == [2, 0, 4]
    binary.sparse(values[[1, 4]], np.array([0, 1]))  # no zero is left
    assert binary.accessors[1]["min"] == [1, -2, 3] and binary.accessors[1]["max"] == [2, -1, 4]


@pytest.mark.parametrize("damage", ["empty", "short", "version", "json", "text"])
def test_what_is_no_container(damage):
    glb = to_glb(make_avatar()).glb
    broken = {
        "empty": b"", "short": glb[:-4], "version": glb[:4] + b"\1" + glb[5:], "text": b"{}" * 20,
        "json": glb[:20] + b"x" * 8 + glb[28:],
    }[damage]  # fmt: skip
    with pytest.raises(ValueError, match=r"no GLB file of glTF 2\.0, or half of one|no JSON in it"):
        from_container(broken)


def test_numbers_that_json_has_not():
    with pytest.raises(ValueError, match="JSON"):
        to_glb(dataclasses.replace(make_avatar(), metadata={"psi": NAN}))
