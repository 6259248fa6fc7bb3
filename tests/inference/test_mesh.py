"""The surface of a person: closed forms, and the rendered depth of the demo model."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from inference import mesh_field
from inference.arguments import FRONTAL_CAMERA
from inference.keyframes import load_file
from inference.mesh import keyframe, main, write_ply
from inference.mesh_field import (
    CAMERA,
    Mesh,
    Still,
    View,
    accumulated_opacity,
    extract_mesh,
    fuse,
    largest_component,
    without_backdrop,
)
from networks.cameras import cast_rays
from tests.inference.small_demo import small_demo
from torch_utils.misc import UserError
from training.data.synthetic.drawing import draw_mesh
from training.data.synthetic.mesh import ColouredMesh

ROOT = Path(__file__).resolve().parents[2]
FRONTAL = torch.tensor(FRONTAL_CAMERA)


def test_opacity_reaches_a_half_where_the_depth_is_rendered():
    at = torch.linspace(0, 1, 101)
    alpha = torch.tensor([[1.0, 1.0, 0.0], [0.25, 1.0, 0.0], [0.4, 0.0, 0.0], [0.0, 0.0, 0.0]])
    depth = torch.tensor([[0.305, 0.5, 0.1], [0.6, 0.7, 0.1], [0.3, 0.1, 0.2], [0.1, 0.2, 0.3]])
    valid = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]) > 0
    opacity = accumulated_opacity(alpha, depth, valid, at)
    assert opacity.shape == (4, 101) and (opacity.diff(dim=1) >= 0).all()
    half = (opacity >= 0.5).float().argmax(1) * 0.01  # the first of the depths
    assert half[0].item() == pytest.approx(0.31, abs=1e-5)  # of one opaque crossing, at 0.305
    assert half[1].item() == pytest.approx(0.25 * 0.6 + 0.75 * 0.7, abs=0.0051)  # of two: the mean depth, 0.675
    assert opacity[2, -1].item() == pytest.approx(0.4, abs=1e-6) and opacity[2, 30].item() == pytest.approx(0.2, 1e-5)
    assert not opacity[3].any()  # nothing is crossed


def view_of_ball(yaw: float, radius: float = 0.1, size: int = 96) -> View:
    """A view of a ball around the centre of the cameras' orbit, red where x > 0 and blue elsewhere."""
    camera = (FRONTAL + torch.tensor([0.0, yaw]))[None]
    rays = cast_rays(camera, CAMERA, size)
    centre = torch.tensor(CAMERA.offset)
    toward = centre - rays.origins[0]  # [R, 3]
    along = (toward * rays.directions[0]).sum(-1)
    inside = radius**2 - (toward.square().sum(-1) - along.square())
    alpha = (inside > 0).float()
    depth = alpha * (along - inside.clamp_min(0).sqrt())
    right = (rays.origins[0] + rays.directions[0] * depth[:, None])[:, 0] > centre[0]
    at = torch.linspace(CAMERA.near, CAMERA.far, 128)
    opacity = accumulated_opacity(alpha[:, None], depth[:, None], alpha[:, None] > 0, at)
    square = (size, size)
    colour = alpha * torch.stack([right.float(), 0 * alpha, 1 - right.float()])
    return View(camera, colour.unflatten(1, square), *(p.unflatten(0, square) for p in (alpha, depth)),
                opacity.T.unflatten(1, square))  # fmt: skip


def test_views_of_a_ball_give_its_front():
    mesh = fuse([view_of_ball(yaw) for yaw in (-0.4, 0.0, 0.4)], 48)
    voxel = 0.2 / 47
    outward = mesh.vertices - np.array(CAMERA.offset)
    distance = np.linalg.norm(outward, axis=1)
    assert np.abs(distance - 0.1).max() < voxel  # measured: 0.6 voxels, at the rim
    assert np.abs(distance - 0.1).mean() < 0.2 * voxel
    a, b, c = (mesh.vertices[corner] for corner in mesh.faces.T)
    normals = np.cross(b - a, c - a)
    assert ((normals * outward[mesh.faces[:, 0]]).sum(1) > 0).mean() > 0.999  # counter-clockwise from outside
    # What cameras 0.4 radians to the sides see of a ball; nothing of the back.
    area = 0.5 * np.linalg.norm(normals, axis=1).sum()
    assert 0.45 < area / (4 * math.pi * 0.1**2) < 0.5 + 0.4 / math.pi
    assert outward[:, 2].min() > -0.1 * math.sin(0.4) - voxel
    right = outward[:, 0] > 8 * voxel  # the unseen take colours of neighbours
    np.testing.assert_allclose(mesh.colours[right], np.broadcast_to([255, 0, 0], (right.sum(), 3)), atol=1)


def test_empty_views():
    empty = view_of_ball(0.0)
    empty = empty._replace(alpha=0 * empty.alpha, opacity=0 * empty.opacity)
    with pytest.raises(ValueError, match="no pixel is opaque"):
        fuse([empty], 16)


def test_largest_component():
    faces = np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6], [5, 6, 7]])
    np.testing.assert_array_equal(largest_component(faces), faces[1:])


def test_a_backdrop_is_what_is_white_and_reaches_the_edge():
    """A grey square with a white strip at its left and a white island in the middle."""
    size = 9
    rows, columns = np.divmod(np.arange(size * size), size)
    corner = (rows < size - 1) & (columns < size - 1)
    a = np.arange(size * size)[corner]
    faces = np.concatenate([np.stack([a, a + 1, a + size], 1), np.stack([a + 1, a + size + 1, a + size], 1)])
    colours = np.full((size * size, 3), 0.5)
    island = (abs(rows - 4) <= 1) & (abs(columns - 4) <= 1)
    colours[(columns <= 1) | island] = 0.99
    kept = without_backdrop(faces, colours)
    wall = (columns <= 1)[faces].all(1)
    assert wall.sum() == 2 * (size - 1)
    np.testing.assert_array_equal(kept, faces[~wall])
    np.testing.assert_array_equal(without_backdrop(faces, np.ones_like(colours)), faces)  # rather than nothing


def test_the_surface_is_where_the_demo_model_renders_it(monkeypatch):
    pipe = small_demo()
    person = pipe.person(seed=3, psi=0.7)
    monkeypatch.setattr(mesh_field, "AROUND", ((0.0, -0.3), (0.0, 0.0), (0.0, 0.3)))
    still = Still(torch.zeros(64), torch.zeros(6, 3), FRONTAL)
    mesh = extract_mesh(pipe, person, still, 96, "exact")
    frame = person.render()
    surface = ColouredMesh(mesh.vertices, mesh.faces, mesh.colours / 255)
    drawn = draw_mesh(surface, FRONTAL_CAMERA, frame.image.shape[-1])
    rendered, white = frame.depth.numpy(), (1 + frame.image.amin(0).numpy()) / 2 > mesh_field.WHITE
    solid = (frame.alpha.numpy() > 0.9) & ~white  # the backdrop is left out
    both = solid & (drawn.alpha > 0.99)
    voxel = (mesh.vertices.max(0) - mesh.vertices.min(0)).max() / 95
    error = np.abs(drawn.depth - rendered)[both]
    assert both.sum() > 0.97 * solid.sum()  # the rest are rims, which no view faces
    # A trained model's layers are half transparent: where opacity rises gradually, depth depends on the view, and the
    # field's smoothing moves its half-way surface. The ball above is opaque, and its mesh nowhere a voxel away.
    assert np.median(error) < 0.15 * voxel  # measured: 0.08
    assert (error < voxel).mean() > 0.98 and (error < 2 * voxel).mean() > 0.99  # measured: 0.995, 0.998
    # Its colours are the picture's. The mesh has a third of its resolution, so both are blurred to that.
    pictures = torch.stack([frame.image, torch.from_numpy(drawn.image)])
    coarse = F.avg_pool2d(pictures * torch.from_numpy(both), 4)
    assert (coarse[0] - coarse[1]).abs().mean().item() < 0.02  # of the 2 between black and white


def test_ply_holds_what_it_says(tmp_path):
    mesh = Mesh(
        np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8.5]], np.float32),
        np.array([[2, 0, 1]], np.int32),
        np.array([[255, 0, 1], [2, 3, 4], [5, 6, 7]], np.uint8),
    )
    path = tmp_path / "mesh.ply"
    write_ply(path, mesh)
    header, body = path.read_bytes().split(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert b"element vertex 3\n" in header and b"element face 1\n" in header and b"comment metres" in header
    assert len(body) == 3 * 15 + 13
    np.testing.assert_allclose(np.frombuffer(body[30:42], "<f4"), np.array([6, 7, 8.5]) * 1.177469, rtol=1e-6)
    assert list(body[42:45]) == [5, 6, 7]
    assert body[45] == 3 and np.frombuffer(body[46:], "<i4").tolist() == [2, 0, 1]


def test_rows_of_keyframes(tmp_path):
    path = tmp_path / "expression.npy"
    np.save(path, np.arange(128, dtype=np.float32).reshape(2, 64))
    file = load_file(path, "expression")
    assert keyframe(file, "expression", 1, "it")[0] == 64
    assert keyframe(None, "camera", 7, None) == pytest.approx(FRONTAL.numpy())
    with pytest.raises(UserError, match="--row: expected a whole number from 0 to 1 for it, found 2"):
        keyframe(file, "expression", 2, "it")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.stl"], "--out: expected a name that ends in .ply or .obj, found 'a.stl'"),
        (["--out", "a.ply", "--resolution", "4"], "--resolution: expected a whole number from 16 to 512, found 4"),
        (["--out", "a.ply", "--psi", "nan"], "--psi: expected a number from 0 to 2, found nan"),
        (["--out", "a.ply", "--seed", "-1"], "--seed: expected a whole number from 0 to 4294967295, found -1"),
        (["--out", "a.ply", "--ckpt", "none.pt"], "none.pt"),
    ],
)
def test_bad_input(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(arguments)
    assert not list(tmp_path.iterdir())
