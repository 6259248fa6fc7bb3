"""A mesh in place of the body's surface."""

import pytest
import torch
import trimesh

from networks.gaussian.maps import CanonicalMaps, Window
from tests.networks.gaussian.made_up import NECK, make_skeleton, make_template
from torch_utils.misc import UserError
from training.avatar.template import with_mesh
from training.avatar.views import Actor

METRES = 2.0


def actor() -> Actor:
    """A ball of radius 0.2 that is drawn a tenth larger, in units of two metres."""
    ball = make_template()
    return Actor(ball._replace(drawn=1.1 * ball.vertices), Window((0.0, 0.0), 0.4, 16), *make_skeleton(), METRES)


def test_a_closed_mesh(tmp_path):
    """A ball of half a metre in its place: weights and expressions are those of the nearest points of the body."""
    ball = trimesh.creation.icosphere(3, 0.5)
    ball.export(tmp_path / "ball.ply")
    found = with_mesh(actor(), tmp_path / "ball.ply").template
    assert found.vertices.norm(dim=-1).numpy() == pytest.approx(0.25, abs=1e-5)
    assert len(found.faces) == len(ball.faces)
    upper, lower = found.vertices[:, 1] > 0.08, found.vertices[:, 1] < -0.08  # beyond the rows at the equator
    assert (found.lbs_weights[upper, NECK] == 1).all() and (found.lbs_weights[lower, 0] == 1).all()
    bulge = found.expression_basis[:, :, 0]
    assert torch.nn.functional.cosine_similarity(bulge, found.vertices).min() > 0.95  # of a body of coarse vertices
    assert ((found.drawn - found.vertices).norm(dim=-1) - 0.02).abs().max() < 2e-3


def test_an_open_mesh_has_the_body_below_it(tmp_path):
    """The front half of a ball: before the body; behind there is the body, 5 mm thinner."""
    ball = trimesh.creation.icosphere(3, 0.5)
    ball.update_faces(ball.triangles_center[:, 2] > 0)
    ball.export(tmp_path / "front.obj")
    meshed = with_mesh(actor()._replace(template=make_template()), tmp_path / "front.obj")
    maps = CanonicalMaps.from_template(meshed.template, meshed.window)
    middle = maps.positions[maps.positions[:, :2].norm(dim=-1) < 0.06]
    ahead, behind = middle[middle[:, 2] > 0, 2], middle[middle[:, 2] < 0, 2]
    assert ahead.min() > 0.235 and (behind + 0.2 - 0.0025).abs().max() < 0.02


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match="no such template file"):
        with_mesh(actor(), tmp_path / "none.ply")
    (tmp_path / "bad.ply").write_text("hello")
    with pytest.raises(UserError, match=r"bad.ply: expected a mesh \(.ply, .obj\), found"):
        with_mesh(actor(), tmp_path / "bad.ply")
    trimesh.PointCloud([[0.0, 0, 0], [1, 1, 1]]).export(tmp_path / "points.ply")
    with pytest.raises(UserError, match="points.ply: expected a mesh"):
        with_mesh(actor(), tmp_path / "points.ply")
