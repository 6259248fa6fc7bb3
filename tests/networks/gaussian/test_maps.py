"""Canonical maps: golden values, and a mesh by hand."""

import pytest
import torch

from networks.gaussian.maps import CanonicalMaps, Fovea, Template, Window, view_cosines
from networks.gaussian.skinning import point_transforms, transform_points
from tests.networks.gaussian.golden import golden, needs_golden
from torch_utils.misc import UserError
from torch_utils.ops.ortho_map import ortho_map


def golden_maps(dtype):
    data = golden("canonical_maps", dtype)
    basis = data["vertices"].new_zeros(len(data["vertices"]), 3, 0)
    template = Template(data["vertices"], data["faces"].long(), data["vertex_weights"], basis)
    x, y, _ = data["centre"].tolist()
    window = Window((x, y), 1.0, int(data["size"]))
    return data, template, CanonicalMaps.from_template(template, window, data["vertex_normals"])


@needs_golden
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 2e-6)])
def test_golden(dtype, tolerance):
    """In float32 a position map's z is interpolated between numbers near 1: a few roundings."""
    data, template, maps = golden_maps(dtype)
    front, back = ortho_map(template.vertices, template.faces, data["centre"], 1.0, maps.size)
    assert torch.equal(torch.cat([front.face, back.face], 1), data["face_index_map"].long())
    assert torch.allclose(maps.positions, data["points"], atol=tolerance)
    assert torch.allclose(maps.to_map(maps.positions).permute(1, 2, 0), data["position_map"], atol=tolerance)
    assert torch.allclose(maps.to_map(maps.normals).permute(1, 2, 0), data["normal_map"], atol=5 * tolerance)
    assert torch.allclose(maps.lbs_weights, data["lbs_weights"], atol=5 * tolerance)
    assert torch.allclose(maps.initial_log_scales(), data["initial_log_scale"], atol=100 * tolerance)

    transforms = point_transforms(maps.lbs_weights, data["joint_transforms"])
    live = transform_points(transforms, maps.positions)
    condition = maps.condition(live)[0]
    assert torch.allclose(condition[:3], data["condition"], atol=5 * tolerance)
    assert torch.allclose(
        torch.cat([condition[:3], condition[3:]], 2).permute(1, 2, 0), data["pose_map_half"], atol=5 * tolerance
    )
    world_to_camera = data["world_to_camera"]
    camera = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    cosines = view_cosines(maps, transforms, live, camera)[0]
    assert torch.allclose(cosines[0], data["view_cosine_front"], atol=20 * tolerance)
    assert torch.allclose(cosines[1], data["view_cosine_back"], atol=20 * tolerance)


def square() -> Template:
    """A square of 2 x 2 at z = 0 and, before its left half, a triangle at z = 1."""
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [-1, -1, 1], [0, -1, 1], [-1, 1, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    return Template(vertices, faces, vertices[:, :1] * 0 + 1, vertices[:, :, None])


def test_drawn_otherwise():
    """Two lips that meet at y = 0, and a wall behind them that only an open mouth shows: it has Gaussians then, and
    all Gaussians are where the closed face has them."""
    corners = torch.tensor([[-1.0, 0], [1, 0], [1, 1], [-1, 1]])
    parts = {"upper": (corners, 1.0), "lower": (-corners, 1.0), "wall": (2 * corners - torch.tensor([0.0, 1]), 0.0)}
    vertices = torch.cat([torch.cat([part, part[:, :1] * 0 + z], 1) for part, z in parts.values()])
    faces = torch.cat([4 * i + torch.tensor([[0, 1, 2], [0, 2, 3]]) for i in range(3)])
    opened = vertices.clone()
    opened[:4, 1] += 0.5
    opened[4:8, 1] -= 0.5
    closed = Template(vertices, faces, torch.ones(12, 1), vertices.new_zeros(12, 3, 0))
    window = Window((0.0, 0.0), 1.0, 8)
    without, found = (CanonicalMaps.from_template(closed._replace(drawn=drawn), window) for drawn in (None, opened))
    front = [maps.positions[maps.pixels % 16 < 8] for maps in (without, found)]
    assert (front[0][:, 2] == 1).all()
    behind = front[1][:, 2] == 0
    assert behind.sum() == 4 * 8 and front[1][behind][:, 1].abs().max() < 0.5
    lips = front[1][~behind]
    assert lips[:, 1].abs().min() == pytest.approx(0.125) and lips[:, 1].abs().max() == pytest.approx(0.375)


def test_a_fovea_spreads_a_window_over_itself():
    """Its edges stay; in its middle a step of x goes sqrt(1 + (d / r)^2) times as far as one at a distance d."""
    window = Window((0.1, -0.2), 0.5, 8, Fovea((0.2, -0.1), 0.05))
    x = torch.linspace(-0.4, 0.6, 1001, dtype=torch.float64)
    points = torch.stack([x, x - 0.3, torch.full_like(x, 7.0)], -1)
    found = window.spread(points)
    assert torch.allclose(found[[0, -1], :2], points[[0, -1], :2], atol=1e-9) and torch.equal(found[:, 2], points[:, 2])
    for axis, focus in enumerate((0.2, -0.1)):
        steps = found[:, axis].diff()
        apart = (1 + ((points[1:, axis] + points[:-1, axis]) / 2 - focus).div(0.05).square()).sqrt()
        assert torch.allclose(steps * apart, (steps * apart)[500].expand(1000), rtol=1e-3)  # of finite differences
    assert window._replace(fovea=None).spread(points) is points


def test_coefficients_have_an_effect_up_to_some_number():
    """Twice the most moves as far as the most."""
    template = square()._replace(most=torch.tensor([0.5]))
    maps = CanonicalMaps.from_template(template, Window((0.0, 0.0), 1.0, 2))
    assert torch.equal(maps.displacements(torch.tensor([1.0])), 0.5 * maps.positions)
    assert torch.equal(maps.displacements(torch.tensor([-1.0])), -maps.positions)


def test_by_hand():
    """Pixels at +-0.5: the triangle, whose edge runs from (0, -1) to (-1, 1), is before the lower left one alone."""
    front, back = ortho_map(square().vertices, square().faces, torch.zeros(3), 1.0, 2)
    assert front.face.tolist() == [[1, 0], [2, 0]]
    assert back.face.tolist() == [[1, 0], [0, 0]]
    assert torch.allclose(front.barycentric[0, 1], torch.tensor([0.25, 0.0, 0.75]))
    maps = CanonicalMaps.from_template(square(), Window((0.0, 0.0), 1.0, 2))
    assert maps.pixels.tolist() == list(range(8))
    assert maps.positions[4].tolist() == [-0.5, -0.5, 1.0]
    assert torch.equal(maps.displacements(torch.tensor([2.0])), 2 * maps.positions)
    values = torch.rand(8, 5)
    assert torch.equal(maps.from_maps(*maps.to_map(values).chunk(2, -1)), values)


def test_chunks_and_faces_beyond_the_window(monkeypatch):
    from torch_utils.ops import ortho_map as module

    expected = ortho_map(square().vertices, square().faces, torch.tensor([0.5, 0.3, 0]), 0.7, 9)
    monkeypatch.setattr(module, "_PAIRS", 5)
    found = ortho_map(square().vertices, square().faces, torch.tensor([0.5, 0.3, 0]), 0.7, 9)
    assert all(torch.equal(a, b) for pair in zip(found, expected, strict=True) for a, b in zip(*pair, strict=True))
    assert not (ortho_map(square().vertices, square().faces, torch.tensor([9.0, 0, 0]), 0.7, 9)[0].face >= 0).any()


def test_errors():
    with pytest.raises(UserError, match="canonical maps: expected a mesh within the window .*, found 0 pixels of it"):
        CanonicalMaps.from_template(square(), Window((9.0, 0.0), 1.0, 8))
    with pytest.raises(ValueError, match=r"vertices and faces: expected shapes \[V, 3\] and \[F, 3\], found"):
        ortho_map(torch.zeros(3, 2), torch.zeros(1, 3, dtype=torch.int64), torch.zeros(3), 1.0, 4)
    with pytest.raises(ValueError, match="half_extent and size: expected more than 0, found 0.0 and 4"):
        ortho_map(square().vertices, square().faces, torch.zeros(3), 0.0, 4)
