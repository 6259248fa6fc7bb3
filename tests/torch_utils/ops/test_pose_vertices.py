"""Skinning and its correction by hand, and the implementations against one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.pose_vertices import pose_vertices
from torch_utils.ops.pose_vertices_ref import RayVolume, View

# At (0, 0, 2), looking along -z, a pixel a tenth of a unit at distance 1; pixel 8 is straight ahead.
STRAIGHT = View(torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 2]), 10.0, 8.0)


def moved(view, volume, device):
    return view._replace(camera=view.camera.to(device)), volume and volume._replace(values=volume.values.to(device))


def shift(*offset):
    matrix = torch.eye(4)
    matrix[:3, 3] = torch.tensor(offset)
    return matrix


def turn(angle):
    """About z."""
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def skin(rest, joints, weights, transforms, view, device, impl, **more):
    parts = torch.tensor(rest), torch.tensor(joints, dtype=torch.uint8), torch.tensor(weights), transforms
    view, _ = moved(view, None, device)
    return pose_vertices(*(part.to(device) for part in parts), view, impl=impl, **more)


@over_implementations
def test_skinning_by_hand(impl, device):
    """One joint shifts, another turns by a right angle; a vertex with half of each lies half-way; then the screen."""
    transforms = torch.stack([shift(0.5, 0.0, 1.0), turn(math.pi / 2)])
    rest, joints = [[0.2, 0.0, 0.0]] * 3, [[0, 1, 0, 0]] * 3
    found = skin(rest, joints, [[1.0, 0, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]], transforms, STRAIGHT, device, impl)
    expected = torch.tensor([[0.7, 0.0, 1.0], [0.0, 0.2, 0.0], [0.35, 0.1, 0.5]])
    torch.testing.assert_close(found.points.cpu(), expected, atol=1e-6, rtol=0)
    screen = torch.tensor([[8 + 7.0, 8, 1], [8, 8 - 1.0, 2], [8 + 3.5 / 1.5, 8 - 1 / 1.5, 1.5]])
    torch.testing.assert_close(found.screen.cpu(), screen, atol=1e-5, rtol=0)
    nothing = torch.zeros(0, 3), torch.zeros(0, 4, dtype=torch.uint8), torch.zeros(0, 4), transforms
    empty = pose_vertices(*(part.to(device) for part in nothing), moved(STRAIGHT, None, device)[0], impl=impl)
    assert empty.points.shape == empty.screen.shape == (0, 3)


@over_implementations
def test_a_constant_volume_is_inverted_at_once(impl, device):
    """A turn and a shift: a round finds the inverse, wherever the guess is."""
    values = (shift(0.05, -0.02, 0.1) @ turn(0.4)).flatten().expand(2, 2, 2, 16).contiguous()
    view, volume = moved(STRAIGHT, RayVolume(values, 0.5, 2.0, 1.5), device)
    neutral = torch.tensor([[0.1, 0.2, 0.3], [-0.3, 0.0, 0.1]])
    found = skin([[0.0, 0, 0], [0.3, 0.1, -0.2]], [[0] * 4] * 2, [[1.0, 0, 0, 0]] * 2, torch.eye(4)[None], STRAIGHT,
                 device, impl, neutral=neutral.to(device), volume=volume, rounds=1)  # fmt: skip
    expected = (neutral - torch.tensor([0.05, -0.02, 0.1])) @ turn(0.4)[:3, :3]
    torch.testing.assert_close(found.points.cpu(), expected, atol=1e-6, rtol=0)


@over_implementations
def test_the_volume_lies_along_the_views_rays(impl, device):
    """A volume of shifts that grow by a node: 0.01 along x a row, along y a column, along z a sample; trilinearly
    between nodes, and as at the border beyond it. Of one round the shift is what a vertex at rest moves back by."""
    values = torch.eye(4).repeat(4, 5, 3, 1, 1)
    row, column, sample = torch.meshgrid(*(0.01 * torch.arange(float(n)) for n in (4, 5, 3)), indexing="ij")
    values[..., :3, 3] = torch.stack([row, column, sample], -1)
    view, volume = moved(STRAIGHT, RayVolume(values.flatten(3), 0.25, 4.0, 1.5), device)
    # Straight ahead: pixel (8, 8), node (2, 2), distance 2, sample 2. Then a pixel left and three up, at distance
    # sqrt(1 + .01 + .09) of axial 1; then far below and to the right, behind the last sample, 30 pixels off.
    rest = [[0.0, 0.0, 0.0], [-0.1, 0.3, 1.0], [6.0, -6.0, 0.0]]
    found = skin(rest, [[0] * 4] * 3, [[1.0, 0, 0, 0]] * 3, torch.eye(4)[None], STRAIGHT, device, impl,
                 neutral=torch.tensor(rest).to(device), volume=volume, rounds=1)  # fmt: skip
    steps = [[2, 2, 2], [5 / 4, 7 / 4, 0], [3, 4, 2]]
    expected = torch.tensor(rest) - 0.01 * torch.tensor(steps)
    torch.testing.assert_close(found.points.cpu(), expected, atol=2e-6, rtol=0)


def make_scene(seed, count, size):
    """Smooth random transforms about a camera that stands anywhere."""
    random = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(3, 3, generator=random))[0]
    place = torch.randn(3, generator=random)
    view = View(torch.cat([axes.flatten(), place]), 15.0, 8.0)
    values = torch.eye(4) + 0.02 * torch.randn(*size, 4, 4, generator=random)
    values[..., 3, :] = torch.tensor([0.0, 0, 0, 1])
    volume = RayVolume(values.flatten(3), (size[0] - 1) / 16, (size[2] - 1) / 0.5, 1.75)
    local = torch.rand(count, 3, generator=random) - torch.tensor([0.5, 0.5, 2.5])
    rest = local @ axes + place
    joints = torch.randint(0, 3, (count, 4), generator=random, dtype=torch.uint8)
    weights = torch.rand(count, 4, generator=random)
    transforms = torch.eye(4) + 0.02 * torch.randn(3, 4, 4, generator=random)
    return rest, joints, weights / weights.sum(1, keepdim=True), transforms, view, rest, volume


@over_compiled
@given(st.integers(0, 999), st.integers(1, 70), st.tuples(*[st.integers(2, 5)] * 3), st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_implementations_agree(impl, device, seed, count, size, rounds):
    """Rounding of numbers near 2, which grows from round to round where nodes differ so much, and may decide whether
    there is another."""
    *scene, view, neutral, volume = make_scene(seed, count, size)
    expected = pose_vertices(*scene, view, neutral=neutral, volume=volume, rounds=rounds, enough=1e-6, impl="ref")
    scene = [part.to(device) for part in scene]
    view, volume = moved(view, volume, device)
    found = pose_vertices(
        *scene, view, neutral=neutral.to(device), volume=volume, rounds=rounds, enough=1e-6, impl=impl
    )
    for ours, theirs, unit in zip(found, expected, (1, 15), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours.cpu(), theirs, atol=3e-5 * unit, rtol=0)


@over_implementations
def test_rounds_end_when_enough_is_found(impl, device):
    """No more is missing than a fraction of ``enough``; with none allowed, skinning is all there is."""
    *scene, view, neutral, volume = make_scene(4, 200, (4, 4, 4))
    scene, neutral = [part.to(device) for part in scene], neutral.to(device)
    view, volume = moved(view, volume._replace(values=0.5 * volume.values + 0.5 * torch.eye(4).flatten()), device)
    found = pose_vertices(*scene, view, neutral=neutral, volume=volume, rounds=20, enough=1e-3, impl=impl)
    missing = (neutral - carried(volume, view, found.points)).norm(dim=-1)
    assert missing.max() < 5e-4 and missing.median() > 1e-7
    skinned = pose_vertices(*scene, view, impl=impl)
    none = pose_vertices(*scene, view, neutral=neutral, volume=volume, rounds=0, impl=impl)
    assert torch.equal(none.points, skinned.points)


def carried(volume, view, points):
    rows = volume.at(points, view).view(-1, 4, 4)[:, :3]
    return (rows[..., :3] @ points[..., None]).squeeze(-1) + rows[..., 3]


@over_implementations
def test_errors(impl, device):
    *scene, view, neutral, volume = make_scene(0, 5, (2, 3, 4))
    rest, joints, weights, transforms = (part.to(device) for part in scene)
    view, volume = moved(view, volume, device)
    both = {"neutral": neutral.to(device), "volume": volume, "impl": impl}
    with pytest.raises(ValueError, match=r"weights: expected shape \[5, 4\], found \[4, 4\]"):
        pose_vertices(rest, joints, weights[:4], transforms, view, **both)
    with pytest.raises(TypeError, match=r"joints: expected torch.uint8, found torch.int64"):
        pose_vertices(rest, joints.long(), weights, transforms, view, **both)
    with pytest.raises(ValueError, match="neutral and volume: expected both or neither, found one"):
        pose_vertices(rest, joints, weights, transforms, view, volume=volume, impl=impl)
    with pytest.raises(ValueError, match=r"volume: expected shape \[H, W, S, 16\], found \[2, 3, 4, 12\]"):
        flat = volume._replace(values=volume.values[..., :12])
        pose_vertices(rest, joints, weights, transforms, view, **{**both, "volume": flat})
    with pytest.raises(ValueError, match=r"volume: expected two nodes or more each way, found \[1, 3, 4\]"):
        pose_vertices(
            rest, joints, weights, transforms, view, **{**both, "volume": volume._replace(values=volume.values[:1])}
        )
    with pytest.raises(ValueError, match="rounds and enough: expected numbers from 0, found -1 and"):
        pose_vertices(rest, joints, weights, transforms, view, rounds=-1, **both)
    with pytest.raises(ValueError, match="camera and rest: expected one device"):
        pose_vertices(rest, joints, weights, transforms, view._replace(camera=view.camera.to("meta")), **both)
