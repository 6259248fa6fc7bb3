"""Posed people: vertices, canonical points and whole frames against golden values."""

import math
from dataclasses import replace

import pytest
import torch

from networks.cameras import FRONTAL, Rays
from networks.person.body_model import NECK, BodyModel
from networks.trigrid.camera_labels import label_rays, portrait_label
from networks.trigrid.config import TriGridConfig
from networks.trigrid.deformation import TURNING, PosedSpace
from networks.trigrid.volume import stratified_depths
from tests.networks.golden import requires_golden
from tests.networks.helpers import make_body
from tests.networks.trigrid.golden import golden_body_model, read_golden
from tests.networks.trigrid.test_generator import CONFIG


@requires_golden
def test_golden_vertices_and_triangles():
    golden = read_golden("deformation")
    body = golden_body_model()
    space = PosedSpace(body, CONFIG)
    torch.testing.assert_close(space.rest, golden["rest_vertices"], rtol=0, atol=1e-5)
    assert torch.equal(space.faces, golden["faces"].long())
    posed = body.metric_vertices(space.rotations(golden["pose"]))
    torch.testing.assert_close(posed, golden["posed_vertices"], rtol=0, atol=1e-5)


@requires_golden
def test_golden_samples_of_a_posed_frame():
    """Points nearest to an edge or a corner have several triangles as near, and may take another: about one of thirty,
    so that hardly a ray has none. So points are compared, not pictures."""
    golden = read_golden("generator")
    rays = label_rays(golden["c"], CONFIG.raw_size)
    depths = stratified_depths(CONFIG.near, CONFIG.far, golden["stratified_uniform"][..., 0])
    torch.testing.assert_close(depths, golden["coarse_depths"][..., 0], rtol=0, atol=1e-5)
    points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
    body = golden_body_model()
    space = PosedSpace(body, CONFIG)
    found = space(body, space.rotations(golden["pose"]), rays)(points)
    same = (found - golden["coarse_canonical_points"]).norm(dim=-1) < 1e-4
    assert same.float().mean() > 0.94


POSES = ("frames", "smoothed", "nearest")


def make_space(pose: str, **changes) -> tuple[BodyModel, PosedSpace, Rays]:
    body = BodyModel(make_body(), torch.arange(len(make_body().v_template)))
    config = TriGridConfig(box=0.6, pose=pose, rest_pose="mean", raw_size=10, samples=12, orbit="portrait", **changes)
    front = portrait_label(torch.full((2, 2), FRONTAL), 64)
    return body, PosedSpace(body, config), label_rays(front, 10)


def make_points(rays: Rays) -> torch.Tensor:
    return rays.at(torch.linspace(2.25, 3.0, 5))


@pytest.mark.parametrize("pose", POSES)
def test_at_rest_nothing_moves(pose):
    body, space, rays = make_space(pose)
    points = make_points(rays)
    found = space(body, space.rotations(torch.zeros(2, 6)), rays)(points)
    torch.testing.assert_close(found, points, rtol=0, atol=2e-5)  # metres; D^p's means are of single precision


@pytest.mark.parametrize("pose", POSES)
def test_poses_learn_through_the_body(pose):
    body, space, rays = make_space(pose)
    asked = torch.full((2, 6), 0.1, requires_grad=True)
    space(body, space.rotations(asked), rays)(make_points(rays)).sum().backward()
    assert asked.grad is not None and asked.grad.isfinite().all() and asked.grad.abs().max() > 0


@pytest.mark.parametrize("pose", POSES)
def test_where_all_joints_turn_as_one_space_turns_with_them(pose):
    """A body that hangs on its neck alone is rigid: x' = J + R^-1 (x - J), J the neck in the origin."""
    body, space, rays = make_space(pose)
    body.lbs_weights.zero_()
    body.lbs_weights[:, NECK] = 1.0
    body.posedirs.zero_()
    space = PosedSpace(body, space.config)
    if pose == "frames":
        space.config = replace(space.config, thickness=10.0)
    turn = torch.tensor([[0.0, 0.3, 0.0, 0.0, 0.0, 0.0]]).expand(2, -1)
    points = make_points(rays)
    matrix = torch.tensor([[math.cos(0.3), 0, math.sin(0.3)], [0, 1, 0], [-math.sin(0.3), 0, math.cos(0.3)]])
    found = space(body, space.rotations(turn), rays)(points)
    torch.testing.assert_close(found, points @ matrix, rtol=0, atol=5e-5)  # metres


def test_poses_and_rotations_are_inverses():
    _, space, _ = make_space("frames")
    pose = torch.linspace(-0.5, 0.6, 12).view(2, 6)
    torch.testing.assert_close(space.pose_of(space.rotations(pose)), pose, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shoulders", [False, True])
def test_shoulders_move_by_config_alone(shoulders):
    body, space, _ = make_space("frames", shoulders=shoulders)
    eulers = torch.zeros(1, 6, 3)
    eulers[:, 1, 0] = 0.3
    moved = space.rotations_of(body, eulers) - space.rest_rotations
    assert (moved.abs() > 1e-6).any().item() is shoulders
    kept = space.with_shoulders(body, space.rotations(torch.full((1, 6), 0.1)), eulers)
    assert torch.equal(kept[:, TURNING], space.rotations(torch.full((1, 6), 0.1))[:, TURNING])
    assert ((kept - space.rotations(torch.full((1, 6), 0.1))).abs() > 1e-6).any().item() is shoulders
