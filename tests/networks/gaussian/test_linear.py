"""An avatar without nets: its features, its one product, its file."""

import pytest
import torch

from networks.gaussian.avatar import pack_avatar
from networks.gaussian.linear import LinearAvatar, bearers, pack_linear, unpack_linear
from networks.gaussian.maps import ANY
from tests.networks.gaussian.made_up import make_avatar, make_view
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.misc import UserError

CAMERA = make_view().origin


def labels(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(64, generator=random), 0.3 * torch.randn(6, 3, generator=random)


@pytest.fixture(scope="module")
def avatar():
    found = make_avatar("static")
    found.fit_projection([found.pose(*labels(seed)) for seed in range(8)])
    return found


@torch.no_grad()
def test_features_are_the_projection_of_what_nets_see(avatar):
    """Of transforms alone, and yet the coefficients of the position maps, in standard deviations, within two."""
    linear = LinearAvatar.of(avatar, 3)
    for seed in (3, 20):
        expression, eulers = labels(seed)
        pose = avatar.pose(expression, eulers)
        found = linear.features(linear.pose(expression, eulers), CAMERA)
        rows = avatar.seen_positions(pose).flatten()[None]
        expected = avatar.pose_projection.coefficients(rows)[0] / avatar.pose_projection.deviations
        assert torch.allclose(found[:2], expected, atol=2e-3) and found[:2].abs().max() <= 2  # float32, small basis
        assert torch.equal(found[2:66], expression)
        linear.most[3] = 0.01  # a lid that has met the other one
        assert linear.features(linear.pose(expression, eulers), CAMERA)[5] == 0.01
        linear.most[3] = ANY
        assert torch.allclose(found[66:], torch.tensor([0.0, 0, 1]), atol=0.05)  # in front


@torch.no_grad()
def test_a_frame_is_a_product(avatar):
    """Base and directions by hand: colours by the first coefficient, which is clamped; skinning is the avatar's."""
    linear = LinearAvatar.of(avatar, 2)
    linear.base.copy_(torch.cat([avatar.canonical[name] for name in ("colour", "position", "other")], -1))
    linear.directions.zero_()
    linear.directions[0, :, 0] = 0.1
    linear.mixing.weight.zero_(), linear.mixing.bias.zero_()
    linear.mixing.weight[0, 2] = 2.0  # the expression's first coefficient
    linear.limits.fill_(1.5)
    _, eulers = labels(1)
    for amount, expected in ((0.0, 0.5), (0.5, 0.6), (5.0, 0.65)):
        expression = torch.zeros(64)
        expression[0] = amount
        found = linear.driven(linear.pose(expression, eulers), CAMERA)
        assert torch.allclose(found.colours[:, 0], torch.tensor(expected)) and (found.colours[:, 1:] == 0.5).all()
        still = avatar.driven(avatar.pose(torch.zeros(64), eulers), CAMERA)
        assert torch.allclose(found.means, still.means, atol=1e-6)
        assert torch.allclose(found.axes, still.axes, atol=1e-6)


def test_joints_that_move_alike_are_one():
    parents = [-1, 0, 1, 2, 2, 4]
    assert bearers(parents, [0, 2, 4]) == [0, 0, 2, 2, 4, 4]


@torch.no_grad()
def test_the_file(avatar, tmp_path):
    """Directions come back to half a step of a byte; everything else as it was. Other files are refused."""
    linear = LinearAvatar.of(avatar, 2)
    random = torch.Generator().manual_seed(0)
    for weight in linear.parameters():
        weight += torch.randn(weight.shape, generator=random)
    linear.limits.fill_(3.0)
    save_checkpoint(tmp_path / "linear", pack_linear(linear, {"face_model": "arkit"}))
    again, metadata = unpack_linear(load_checkpoint(tmp_path / "linear"), "linear")
    assert metadata == {"face_model": "arkit"} and not again.training
    steps = linear.directions.abs().amax(1, keepdim=True) / 127
    assert ((again.directions - linear.directions).abs() <= 0.5001 * steps).all()
    own, theirs = linear.state_dict(), again.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own if name != "directions")
    with pytest.raises(UserError, match="nets: expected a linear avatar, found 'gaussian_avatar'"):
        unpack_linear(pack_avatar(avatar, {}), "nets")
    broken = pack_linear(linear, {})
    del broken["state"]["most"]  # as it was before coefficients had one
    assert torch.equal(unpack_linear(broken, "file")[0].most, linear.most)
    del broken["state"]["limits"]
    with pytest.raises(UserError, match="file: weights do not fit LinearAvatar: 1 missing: limits"):
        unpack_linear(broken, "file")
    del broken["state"]["directions"]
    with pytest.raises(UserError, match="file: expected a linear avatar's arrays, found none that fit: 'directions'"):
        unpack_linear(broken, "file")


def test_poses_must_be_projected():
    with pytest.raises(UserError, match="expected an avatar with pose_components, found one that projects no poses"):
        LinearAvatar.of(make_avatar("static"), 2)
