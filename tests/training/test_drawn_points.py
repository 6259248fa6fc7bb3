"""What single rays of drawn people see, and the targets of phi where they cross the manifolds."""

import numpy as np
import pytest
import torch

from networks.manifold.generator import ManifoldPoints
from networks.person.body_model import HEAD
from tests.networks.helpers import make_generator
from training.data.synthetic import SyntheticPerson, draw, sample_expression, sample_pose_camera
from training.data.synthetic.sights import Sights, look
from training.drawn_points import (
    BEHIND_WEIGHT,
    CELLS,
    POINT,
    REACH,
    STEP,
    Targets,
    drawn_identity,
    find_air,
    pack,
    targets_of,
    unpack,
    with_air,
)


def make_points(depths) -> ManifoldPoints:
    """Crossings [1, N, K] at ``depths`` of rays along z; the k-th point is (k, 0, depth) / 100."""
    depth = torch.as_tensor(depths, dtype=torch.float32)[None]
    index = torch.arange(depth.shape[-1]).expand_as(depth)
    canonical = torch.stack([index, torch.zeros_like(depth), depth], -1) / 100
    return ManifoldPoints(canonical, depth, (depth > 0).float())


def make_sights(depth, alpha) -> Sights:
    count = len(depth)
    return Sights(np.zeros((count, 2)), np.full((count, 3), 0.25), np.asarray(alpha), np.asarray(depth))


def test_sights_are_what_pictures_show():
    """Where a picture is smooth, a ray has its pixel's colour, and everywhere its opacity and distance."""
    rng = np.random.default_rng(0)
    identity, pose, size = drawn_identity(0, 3), sample_pose_camera(rng), 128
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
    posed, head = person.posed(sample_expression(rng), pose.joint_eulers), person.joint_transforms(pose.joint_eulers)
    for kind, frame in (("portrait", None), ("face", head[HEAD])):
        sights = look(posed, pose.camera, kind, frame, size=size, count=1500, rng=rng)
        picture = draw(posed, pose.camera, size, kind, frame)
        column, row = np.rint((sights.place * [1, -1] + 1) / 2 * (size - 1)).astype(int).clip(0, size - 1).T
        assert len(np.unique(row * size + column)) > 1300  # shifted by a part of a pixel at most
        whole = (picture.alpha[row, column] == 1) & (sights.alpha == 1)
        seen = sights.colour - (picture.image[:, row, column].T + 1) / 2
        assert whole.sum() > 600 and np.median(np.abs(seen[whole])) < 0.02
        assert np.median(np.abs(sights.depth - picture.depth[row, column])[whole]) < 0.001  # canonical units: 1.2 mm
        empty = picture.alpha[row, column] == 0
        assert empty.sum() > 20 and np.isinf(sights.depth[empty]).mean() > 0.9


def test_eyes_and_mouth_are_looked_at_more_often():
    identity = drawn_identity(0, 1)
    person = SyntheticPerson(identity.z_id, identity.eps, identity.betas).posed(np.zeros(64), np.zeros((6, 3)))
    sights = look(person, (np.pi / 2, np.pi / 2), "face", None, size=128, count=2000, rng=np.random.default_rng(0))
    eyes = (np.abs(np.abs(sights.place[:, 0]) - 0.3) < 0.12) & (np.abs(sights.place[:, 1] - 0.1) < 0.12)
    assert eyes.sum() > 2 * 2000 * 2 * 0.24**2 / 4  # twice what even rays would have


def test_two_crossings_share_a_surface_between_them_and_those_before_it_are_clear():
    # Surfaces at 2.5 (in the middle between two crossings), at 2.1 and 2.9 (near one of them).
    points = make_points([[1, 2, 3, 4.0]] * 3)
    targets = targets_of(points, make_sights([2.5, 2.1, 2.9], [1.0, 1.0, 1.0]), np.random.default_rng(0))
    z = 100 * targets.position[..., 2]
    np.testing.assert_allclose(z[:, 0], 1.0, rtol=1e-6)
    np.testing.assert_allclose(z[:, 1:3], [[2, 3]] * 3, rtol=1e-6)
    np.testing.assert_allclose(targets.alpha[:, :3], [[0, 0.5, 1], [0, 1, 1], [0, 0, 1]], atol=1e-6)
    # Farther behind than BEHIND nothing is known: 3 lies 0.5, 0.9 and 0.1 behind.
    assert (targets.alpha_weight[:, :2] == 1).all() and (targets.alpha_weight[:, 2:] == 0).all()
    assert (targets.colour_weight[:, 0] == 0).all() and (targets.colour == 0.25).all()


def test_what_is_close_behind_a_surface_is_as_opaque_but_weighs_little():
    points = make_points([[1.00, 1.01, 1.02, 1.03]])
    targets = targets_of(points, make_sights([1.0101], [0.5]), np.random.default_rng(0))
    np.testing.assert_allclose(targets.alpha[0, 1:], 0.5)
    assert targets.alpha_weight[0, 2] == pytest.approx(BEHIND_WEIGHT)  # hidden by the one before it
    assert targets.alpha_weight[0, 3] == pytest.approx(0.5 * BEHIND_WEIGHT)


def test_where_nobody_is_every_crossing_is_clear():
    points = make_points([[1, 2, 3, 4.0]] * 50)
    targets = targets_of(points, make_sights(np.full(50, np.inf), np.zeros(50)), np.random.default_rng(0))
    known = targets.alpha_weight > 0
    assert known.all() and (targets.alpha == 0).all()
    assert (targets.colour_weight == 0).all()
    assert len(torch.unique(targets.position[known][:, 2])) == 4  # any of them


def test_stored_points():
    points = make_points([[0.1, 0.2, 0.3, 0.0]])
    targets = targets_of(points, make_sights([0.21], [0.8]), np.random.default_rng(0))
    packed = pack(targets)
    assert packed.dtype == POINT and len(packed) == (targets.alpha_weight > 0).sum() < 4  # one crossing is not valid
    read, kept = unpack(packed), targets.alpha_weight > 0
    assert (read.position - targets.position[kept]).abs().max() <= STEP
    for name in ("colour", "alpha", "alpha_weight", "colour_weight"):
        assert (getattr(read, name) - getattr(targets, name)[kept]).abs().max() <= 1 / 255


def test_air_is_where_nobody_has_anything():
    """All points of the manifolds but those in the cells around the only opaque point."""
    generator = make_generator()
    empty = np.zeros((2, 3), POINT)
    everywhere = find_air(generator, empty)
    taken, at = empty.copy(), everywhere[len(everywhere) // 2]
    taken["position"][0, 0], taken["alpha"][0, 0] = (at / STEP).round().numpy(), 255
    air = find_air(generator, taken)
    kept = {tuple(point.tolist()) for point in air}
    removed = torch.stack([point for point in everywhere if tuple(point.tolist()) not in kept])
    cell = 2 * REACH / CELLS
    assert 0 < len(removed) < 0.1 * len(everywhere) and (removed - at).abs().max() < 2 * cell
    assert ((air - at).abs().amax(-1) > 0.99 * cell).all()


def test_targets_with_air_behind_them():
    targets = targets_of(make_points([[1, 2, 3.0]]), make_sights([1.5], [1.0]), np.random.default_rng(0))
    batch = Targets(*(part[None, 0] for part in targets))
    joined = with_air(batch, torch.ones(1, 5, 3))
    assert joined.position.shape == (1, 9, 3) and (joined.position[:, 4:] == 1).all()
    assert (joined.alpha[:, 4:] == 0).all() and (joined.alpha_weight[:, 4:] == 1).all()
    assert (joined.colour_weight[:, 4:] == 0).all()
    assert all(torch.equal(new[:, :4], old) for new, old in zip(joined, batch, strict=True))
