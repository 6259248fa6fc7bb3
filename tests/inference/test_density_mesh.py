"""Meshes of tri-grids: closed forms of opacity, a ball of density, textures."""

import numpy as np
import pytest
import torch
from PIL import Image

from inference import mesh as mesh_program
from inference.density_mesh import ALONG, INSIDE, OUTSIDE, Field, accumulated, colours_at, extract_head, within_pictures
from inference.portable.gltf import METRES
from inference.textured import make_atlas, write_textured
from networks.saved_model import SavedModel, pack_model
from networks.trigrid.deformation import to_metres
from networks.trigrid.volume import CUT_AWAY
from tests.networks.trigrid.test_portrait import make_portrait
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError

CENTRE, RADIUS = (0.02, 0.1, 0.05), 0.2  # metres


def test_opacity_is_that_of_the_best_side():
    """A slab of optical depth 3 across z, open to nothing: from either side its middle lies behind half of it."""
    density = torch.full((4, 4, 9), CUT_AWAY)
    density[:, :, 3:6] = 1001.0  # softplus(1000) is 1000
    found = accumulated(density, 1e-3)  # metres: 1 a node
    expected = 1 - np.exp(-np.array([0, 0, 0, 0.5, 1.5, 0.5, 0, 0, 0]))
    # From x or y a slab's inner nodes lie behind 0.5 and 1.5 nodes of itself, and more.
    np.testing.assert_allclose(found[0, 0], np.minimum(expected, 1 - np.exp(-0.5)), atol=1e-5)
    np.testing.assert_allclose(found[1, 1], np.minimum(expected, 1 - np.exp(-1.5)), atol=1e-5)


def ball(portrait):
    """The generator's densities replaced by an opaque ball's."""

    def radiance(planes, points):
        inside = (points - points.new_tensor(CENTRE)).norm(dim=-1) < RADIUS
        features = torch.zeros(*points.shape[:-1], portrait.config.colour_features)
        return torch.where(inside, 2000.0, CUT_AWAY), features

    portrait.trigrid.radiance = radiance
    return portrait


@pytest.mark.parametrize("pose", ["frames", "smoothed", "none"])
def test_a_ball_is_meshed_where_it_is(pose):
    """At rest, in every way of posing: upright, unsheared, in metres, closed, counter-clockwise from outside."""
    portrait = ball(make_portrait(pose=pose))
    person = portrait.person(torch.randn(1, 8, generator=torch.Generator().manual_seed(0)))
    mesh, colour = extract_head(portrait, person, torch.zeros(6, 3), 40)
    vertices = to_metres(torch.from_numpy(mesh.vertices)).numpy()
    distance = np.linalg.norm(vertices - np.array(CENTRE), axis=1)
    voxel = portrait.config.box / 39
    assert np.abs(distance - RADIUS).max() < 1.5 * voxel and abs(distance.mean() - RADIUS) < 0.6 * voxel
    np.testing.assert_allclose(vertices.min(0) + vertices.max(0), 2 * np.array(CENTRE), atol=voxel)
    edges = np.sort(np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:], mesh.faces[:, ::2]]), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    a, b, c = (vertices[mesh.faces[:, k]] for k in range(3))
    volume = (np.cross(a, b) * c).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.2)
    assert np.abs(255 * colour(METRES * mesh.vertices) - mesh.colours).max() <= 0.51


class FirstThree(torch.nn.Module):
    """Features as colours in -1..1."""

    def forward(self, features, w):
        return features[:, :3]


def test_colours_are_those_of_the_way_in():
    """Density is 20 a metre everywhere, what is in front lies at larger z, and features are z: a mean of z by light."""
    portrait = make_portrait(pose="none")
    density = 1 + np.log(np.expm1(20.0))
    portrait.trigrid.radiance = lambda planes, points: (
        torch.full(points.shape[:-1], density), points[..., 2:].expand(*points.shape[:-1], 4))  # fmt: skip
    portrait.trigrid.torgb = FirstThree()
    person = portrait.person(torch.zeros(1, 8))
    axis = torch.linspace(-0.5, 0.5, 11)
    nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    field = Field(-0.5, 0.1, (-nodes[..., 2]).numpy(), nodes)
    step = (OUTSIDE + INSIDE) / (ALONG - 1)
    middles = -OUTSIDE + step * (np.arange(ALONG - 1) + 0.5)
    light = np.exp(-20 * step * np.arange(ALONG - 1))
    expected = 0.5 + 0.5 * (0.1 - (light * middles).sum() / light.sum())
    found = colours_at(portrait, person, field, torch.tensor([[0.0, 0.05, 0.1]]))
    np.testing.assert_allclose(found.numpy(), [[expected] * 3], atol=1e-6)


def test_what_is_below_all_pictures_is_left_out():
    """360PHQ's orbit: 2.7 m from the origin, looking at a point 0.0649 m above it, focal length 5000 / 768: on the axis
    the lower edge lies about 2.7 * 768 / 5000 / 2 below that point; from the nearer cameras it is higher."""
    edge = 0.0649 - 2.7 * 768 / 5000 / 2
    points = torch.tensor([[0.0, edge + 0.005, 0.0], [0.0, edge - 0.005, 0.0], [0.0, 0.45, 0.0], [0.4, edge, 0.0]])
    seen = within_pictures(make_portrait(orbit="phq"), points)
    assert seen.tolist() == [True, False, True, True]  # the last one is farther from the camera at the right


def test_nothing_opaque():
    portrait = make_portrait(pose="none")
    portrait.trigrid.radiance = lambda planes, points: (
        torch.full(points.shape[:-1], CUT_AWAY), torch.zeros(*points.shape[:-1], 4)
    )  # fmt: skip
    with pytest.raises(ValueError, match="nothing is opaque"):
        extract_head(portrait, portrait.person(torch.zeros(1, 8)), torch.zeros(6, 3), 16)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_texels_lie_on_their_triangles(count):
    """What weights say of a texel's place is where it is between its triangle's corners in the atlas."""
    atlas = make_atlas(count)
    assert len(np.unique(atlas.texels, axis=0)) == len(atlas.texels) and set(atlas.triangles) == set(range(count))
    corners = atlas.uv[atlas.triangles] * atlas.size
    corners[..., 1] = atlas.size - corners[..., 1]
    np.testing.assert_allclose((corners * atlas.weights[..., None]).sum(1), atlas.texels + 0.5, atol=1e-9)
    assert atlas.weights.min() >= -1 / 6 - 1e-12  # on the diagonal between two triangles the second one goes on
    assert (atlas.uv > 0).all() and (atlas.uv < 1).all()


def test_a_textured_file(tmp_path):
    """A colour that is its place comes back at the corners."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    write_textured(tmp_path / "part", tmp_path / "a.obj", vertices, faces, lambda points: points)
    lines = (tmp_path / "part").read_text().splitlines()
    uv = np.array([line.split()[1:] for line in lines if line.startswith("vt ")], float)
    assert lines.count("mtllib a.mtl") == 1 and lines[-1] == "f 2/4 4/5 3/6" and len(uv) == 6
    assert "map_Kd a.png" in (tmp_path / "a.mtl").read_text()
    texture = np.asarray(Image.open(tmp_path / "a.png"))
    size = len(texture)
    column, row = (uv[:, 0] * size - 0.5).round().astype(int), ((1 - uv[:, 1]) * size - 0.5).round().astype(int)
    np.testing.assert_array_equal(texture[row, column], np.round(255 * vertices[faces.ravel()]))


def test_the_program(tmp_path):
    """Both kinds of files; what tri-grids do not have is refused."""
    ckpt = tmp_path / "model.safetensors"
    portrait = make_portrait()
    portrait.trigrid.decoder.net[2].bias[0] = 60.0  # opaque everywhere
    save_checkpoint(ckpt, pack_model(SavedModel(portrait, None, {})))
    words = ["--ckpt", str(ckpt), "--resolution", "16", "--device", "cpu", "--psi", "1"]
    for name in ("head.ply", "head.obj"):
        mesh_program.main([*words, "--out", str(tmp_path / name)])
    assert {"head.ply", "head.obj", "head.mtl", "head.png"} <= {path.name for path in tmp_path.iterdir()}
    np.save(tmp_path / "camera.npy", np.full((1, 2), np.pi / 2, np.float32))
    with pytest.raises(UserError, match="--cam_path: expected none, for .* is meshed from all sides"):
        mesh_program.main([*words, "--cam_path", str(tmp_path / "camera.npy"), "--out", str(tmp_path / "head.ply")])
