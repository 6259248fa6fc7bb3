"""An avatar as a whole: what moves it, what its nets see, its file."""

import math

import pytest
import torch

from networks.gaussian.avatar import EXPRESSION_UNIT, AvatarConfig, pack_avatar, unpack_avatar
from tests.networks.gaussian.made_up import SIZE, make_avatar, make_view
from torch_utils.misc import UserError

STILL, NEUTRAL = torch.zeros(6, 3), torch.zeros(64)
NOD = STILL.clone()
NOD[0, 2] = 0.5  # of the neck, about x


def smile(amount: float = 1.0) -> torch.Tensor:
    expression = NEUTRAL.clone()
    expression[0] = amount
    return expression


@pytest.mark.parametrize("nets", ["static", "one", "three"])
@torch.no_grad()
def test_a_new_avatar_is_its_template(nets):
    """Whatever the nets' first weights: their maps are 0, so Gaussians are where the template is, and all alike."""
    avatar = make_avatar(nets)
    found = avatar(avatar.pose(NEUTRAL, STILL), make_view().origin)
    assert torch.allclose(found.means, avatar.maps.positions, atol=1e-6) and not found.offsets.any()
    assert torch.allclose(found.opacities, torch.tensor(0.1))
    assert torch.allclose(found.colours, torch.tensor(0.5))
    scales = torch.diag_embed(avatar.maps.initial_log_scales().exp()[:, None].expand(-1, 3))
    assert torch.allclose(found.axes, scales, atol=1e-6)
    picture = found.draw(make_view(), 0.0)
    assert 0.5 < picture.alpha[12, 12] < 0.95 and picture.alpha[0, 0] == 0
    assert picture.depth[12, 12] / picture.alpha[12, 12] == pytest.approx(2, abs=0.2)


@torch.no_grad()
def test_what_moves_gaussians():
    """A nod turns those on the neck about the origin, shape and all; an expression of 1 bulges by a tenth."""
    avatar = make_avatar("static")
    still, nod, wide = (
        avatar(avatar.pose(*labels), make_view().origin)
        for labels in ((NEUTRAL, STILL), (NEUTRAL, NOD), (smile(), STILL))
    )
    upper = avatar.maps.lbs_weights[:, 12] > 0.9999
    c, s = math.cos(0.5), math.sin(0.5)
    turn = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]])
    assert torch.allclose(nod.means[upper], still.means[upper] @ turn.T, atol=1e-4)
    assert torch.allclose(nod.axes[upper], turn @ still.axes[upper], atol=1e-4)
    lower = avatar.maps.lbs_weights[:, 0] > 0.9999
    assert torch.allclose(nod.means[lower], still.means[lower], atol=1e-4)
    assert torch.allclose(wide.means, 1.1 * still.means, atol=1e-6)


@torch.no_grad()
def test_what_the_nets_see():
    """Posed template points without the expression, the expression's displacement by itself, front before back."""
    avatar = make_avatar()
    condition = avatar.condition(avatar.pose(smile(), STILL))[0]
    assert condition.shape == (12, SIZE // 2, SIZE // 2)
    position = avatar.maps.to_map(avatar.maps.positions)[:, ::2, ::2]
    assert torch.allclose(condition[:3], position[..., : SIZE // 2], atol=1e-6)
    assert torch.allclose(condition[6:9], position[..., SIZE // 2 :], atol=1e-6)
    assert torch.allclose(condition[3:6], EXPRESSION_UNIT * 0.1 * condition[:3], atol=1e-5)


@torch.no_grad()
def test_projection_is_of_poses_and_of_expressions_by_themselves():
    """Nods up to 0.3 and smiles up to 0.5 were trained on: far ones are brought near, skinning is left alone."""
    avatar = make_avatar()
    poses = [avatar.pose(smile(0.5 * s), n * NOD / 0.5 * 0.3) for s in (0, 1) for n in (-1.0, 0.0, 1.0)]
    avatar.fit_projection(poses)
    inside = avatar.pose(smile(0.25), 0.2 * NOD / 0.5)
    assert torch.allclose(avatar.condition(inside, project=True), avatar.condition(inside), atol=0.005)
    beyond = avatar.pose(smile(5.0), 4 * NOD)
    seen = avatar.condition(beyond, project=True)
    limit = 0.25 + 2 * torch.tensor([0.0, 0, 0, 0.5, 0.5, 0.5]).std()  # of smiles
    assert (
        seen[:, 3:6].abs().max() <= limit * avatar.condition(avatar.pose(smile(1.0), STILL))[:, 3:6].abs().max() + 1e-5
    )
    assert (seen[:, :3] - avatar.condition(beyond)[:, :3]).abs().max() > 0.05
    assert torch.equal(avatar(beyond, make_view().origin, project=True).means, avatar(beyond, make_view().origin).means)


def test_gradients_reach_everything():
    """Once the last layers are not 0 any more; the noise's strengths are reached, too."""
    avatar = make_avatar("three").train()
    for name, weight in avatar.named_parameters():
        if "to_rgbs" in name:
            torch.nn.init.normal_(weight, std=0.1)
    found = avatar(avatar.pose(smile(), NOD), make_view().origin)
    picture = found.draw(make_view())
    (picture.image.square().sum() + picture.depth.sum()).backward()
    without = [name for name, p in avatar.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@torch.no_grad()
def test_the_file():
    """What is saved draws the same; other files are refused in a line."""
    avatar = make_avatar()
    for weight in avatar.parameters():
        weight += 0.02 * torch.randn_like(weight)
    avatar.fit_projection([avatar.pose(smile(s), s * NOD) for s in (0.0, 0.5, 1.0)])
    data = pack_avatar(avatar, {"source": "made up"})
    again, metadata = unpack_avatar(data, "a file")
    assert metadata == {"source": "made up"}
    pictures = [
        one(one.pose(smile(0.3), NOD), make_view().origin, project=True).draw(make_view()).image
        for one in (avatar, again)
    ]
    assert torch.equal(*pictures)
    del data["state"]["maps.most"]  # as it was before coefficients had one
    assert torch.equal(unpack_avatar(data, "a file")[0].maps.most, avatar.maps.most)
    with pytest.raises(UserError, match="a file: expected a Gaussian avatar, found 'aniportraitgan'"):
        unpack_avatar(data | {"convention": "aniportraitgan"}, "a file")
    del data["state"]["maps.pixels"]
    with pytest.raises(
        UserError, match="a file: expected a Gaussian avatar's weights, found none that fit: 'maps.pixels'"
    ):
        unpack_avatar(data, "a file")


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"unet.size: expected half of map_size \(64\), found 512"):
        AvatarConfig(map_size=64)
