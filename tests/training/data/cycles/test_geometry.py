"""Finer and cut meshes: closed forms on planes and spheres."""

import numpy as np
import pytest

from tests.training.data.synthetic.meshes import make_sphere
from training.data.cycles.geometry import Mesh, cut, part_of, refine, thicken


def make_square(n: int = 4) -> Mesh:
    """The unit square, z = 0, of n x n cells, with the values x and (x, y, 0)."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + n + 2], 1), np.stack([a, a + n + 2, a + n + 1], 1)])
    return Mesh(points, faces, {"x": points[:, 0], "where": points.copy()})


def make_ball() -> Mesh:
    sphere = make_sphere(1.0)
    keep = sphere.faces[np.ptp(np.round(sphere.vertices[sphere.faces], 9), axis=1).any(1)]
    return Mesh(sphere.vertices.astype(np.float64), keep, {})


def area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def border(mesh: Mesh) -> int:
    """Directed edges that no other face runs along the other way."""
    edges = {(int(f[i]), int(f[i - 2])) for f in mesh.faces for i in range(3)}
    assert len(edges) == 3 * len(mesh.faces)  # no edge twice in one direction: the faces agree on a side
    return sum((b, a) not in edges for a, b in edges)


def longest(mesh: Mesh) -> np.ndarray:
    corners = mesh.vertices[mesh.faces]
    return np.linalg.norm(corners - np.roll(corners, 1, 1), axis=-1).max(1)


@pytest.mark.parametrize("side", [0.0, 0.3, 0.8])
def test_refining_a_plane(side):
    """Only where it is asked for; nothing opens, nothing leaves the plane, values stay those of the place."""
    square = make_square()
    fine = refine(square, lambda mesh: np.where(mesh.vertices[:, 0] > side, 0.06, 0.13))
    assert area(fine) == pytest.approx(1.0, abs=1e-12) and not fine.vertices[:, 2].any()
    np.testing.assert_allclose(fine.values["where"], fine.vertices, atol=1e-12)
    np.testing.assert_allclose(fine.values["x"], fine.vertices[:, 0], atol=1e-12)
    assert border(fine) > border(square)
    right = (fine.vertices[fine.faces][:, :, 0] > side).all(1)
    assert longest(part_of(fine, fine.faces[right])).max() <= 0.06
    inner = [edge for edge in _border_edges(fine) if not _on_frame(fine.vertices[list(edge)])]
    assert inner == []  # no gaps between coarse and fine


def _border_edges(mesh: Mesh):
    edges = {(int(f[i]), int(f[i - 2])) for f in mesh.faces for i in range(3)}
    return [(a, b) for a, b in edges if (b, a) not in edges]


def _on_frame(points: np.ndarray) -> bool:
    return any((points[:, axis] == value).all() for axis in (0, 1) for value in (0, 1))


def test_refining_a_sphere_keeps_it_round():
    ball = make_ball()
    assert longest(ball).max() > 0.06
    fine = refine(ball, lambda mesh: np.full(len(mesh.vertices), 0.03))
    radius = np.linalg.norm(fine.vertices, axis=1)
    new = radius[len(ball.vertices) :]
    # the middles of chords of 0.07 lie 6e-4 inside
    assert np.abs(new - 1).max() < 2e-4 and len(fine.faces) > 4 * len(ball.faces)


def test_cutting_a_plane():
    square = make_square(5)
    kept, on_cut = cut(square, 0.37 - square.vertices[:, 0] - 0.2 * square.vertices[:, 1])
    assert area(kept) == pytest.approx(0.27, abs=1e-12)  # the mean of 0.37 - 0.2 y
    edge = kept.vertices[on_cut]
    np.testing.assert_allclose(edge[:, 0] + 0.2 * edge[:, 1], 0.37, atol=1e-12)
    np.testing.assert_allclose(kept.values["where"], kept.vertices, atol=1e-12)
    assert border(kept) > 0 and list(kept.values) == ["x", "where"]
    nothing, _ = cut(square, np.full(len(square.vertices), -1.0))
    assert len(nothing.faces) == len(nothing.vertices) == 0


def test_a_thick_sheet_is_closed():
    square = make_square(3)
    solid = thicken(square, np.full(len(square.vertices), 0.1))
    assert border(solid) == 0
    assert area(solid) == pytest.approx(2 + 4 * 0.1, abs=1e-9)
    assert solid.vertices[:, 2].min() == pytest.approx(-0.1)
    np.testing.assert_array_equal(solid.values["x"], np.tile(square.values["x"], 2))
