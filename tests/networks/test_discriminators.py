"""The discriminators: sizes of the family, values by hand, non-square pictures, bad sizes."""

import math

import pytest
import torch
from torch.nn import functional as F

from networks.discriminators import CoordConv2d, Discriminator, DiscriminatorConfig, ResidualBlock, grown, torso_crop
from tests.networks.helpers import max_error

ROUNDING = 1e-5  # float32 sums of a few hundred products near 1


def make_discriminator(width=16, height=16, **sizes):
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig(width=width, height=height, **sizes))


@pytest.mark.parametrize(
    ("size", "channels"),
    [
        (32, (256, 400, 400, 400, 400)),
        (128, (64, 128, 256, 400, 400, 400, 400)),
        (512, (16, 32, 64, 128, 256, 400, 400, 400, 400)),
    ],
)
def test_channels_of_the_family(size, channels):
    assert DiscriminatorConfig(width=size, height=size).channels == channels
    assert DiscriminatorConfig(width=size, height=size // 4).channels == channels
    assert DiscriminatorConfig(width=size, height=size, channel_base=512, max_channels=32).channels[-1] == 32


@pytest.mark.parametrize(("width", "height"), [(2, 2), (16, 16), (64, 16), (16, 64), (32, 8)])
def test_square_or_not_a_picture_gives_one_score_and_one_camera(width, height):
    judgement = make_discriminator(width, height, max_channels=8)(torch.randn(3, 3, height, width))
    assert judgement.score.shape == (3,) and judgement.camera.shape == (3, 2)


def test_coordinates_are_two_more_channels():
    torch.manual_seed(0)
    layer, x = CoordConv2d(4, 6), torch.randn(2, 4, 5, 7)
    columns = torch.linspace(-1, 1, 7).expand(2, 1, 5, 7)
    rows = torch.linspace(-1, 1, 5)[:, None].expand(2, 1, 5, 7)
    expected = F.conv2d(torch.cat([x, columns, rows], 1), layer.weight, layer.bias, padding=1)
    assert max_error(layer(x), expected) < ROUNDING


def test_residual_block_by_hand():
    """With the convolutions silent, a block is its shortcut over sqrt 2, pooled where a side exceeds two pixels."""
    block = ResidualBlock(1, 1)
    with torch.no_grad():
        for layer in (block.conv1, block.conv2):
            layer.weight.zero_()
            layer.bias.zero_()
    x = torch.arange(8.0).reshape(1, 1, 2, 4)
    assert max_error(block(x), torch.tensor([[[[0.5, 2.5], [4.5, 6.5]]]]) / math.sqrt(2)) < ROUNDING
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert max_error(block(x), torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]]) / math.sqrt(2)) < ROUNDING


def test_smallest_discriminator_by_hand():
    """At 2 x 2 there are no blocks: leaky relu of a 1x1 convolution, then one 2x2 convolution."""
    discriminator = make_discriminator(2, 2, max_channels=1)
    with torch.no_grad():
        discriminator.from_rgb.weight.fill_(1.0)
        discriminator.from_rgb.bias.fill_(0.5)
        discriminator.output.weight.copy_(torch.arange(12.0).reshape(3, 1, 2, 2))
        discriminator.output.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    image = torch.tensor([0.5, -0.5, 0.0, 1.0]).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    # Channel sums 1.5, -1.5, 0, 3 plus 0.5 -> 2, -1, 0.5, 3.5 -> 2, -0.2, 0.5, 3.5.
    judgement = discriminator(image)
    assert judgement.score.item() == pytest.approx(-0.2 + 1.0 + 10.5 + 1.0, abs=ROUNDING)
    assert judgement.camera[0].tolist() == pytest.approx(
        [8.0 - 1.0 + 3.0 + 24.5 + 2, 16.0 - 1.8 + 5 + 38.5 + 3], abs=1e-4
    )


def test_each_picture_is_judged_by_itself():
    discriminator, images = make_discriminator(max_channels=16), torch.randn(4, 3, 16, 16)
    together, alone = discriminator(images), [discriminator(image[None]) for image in images]
    assert max_error(together.score, torch.cat([one.score for one in alone])) < ROUNDING


def test_an_untrained_one_believes_in_frontal_cameras():
    discriminator = make_discriminator(max_channels=16)
    judgement = discriminator(torch.zeros(1, 3, 16, 16))
    with torch.no_grad():
        discriminator.output.weight.zero_()
    assert discriminator(torch.zeros(1, 3, 16, 16)).camera[0].tolist() == pytest.approx([math.pi / 2] * 2)
    assert max_error(judgement.camera, torch.full((1, 2), math.pi / 2)) < 0.5


def test_gradients_of_the_gradient():
    """What R1 needs: second derivatives, checked in double precision on a 4:1 picture."""
    discriminator = make_discriminator(8, 2, max_channels=3).double()
    image = torch.randn(1, 3, 2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple(discriminator(x)), image)
    assert torch.autograd.gradgradcheck(lambda x: discriminator(x).score, image)


def test_torso_is_the_lowest_quarter():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torso_crop(image).flatten().tolist() == list(range(48, 64))


def test_bad_sizes():
    with pytest.raises(ValueError, match="width: expected a power of two from 2 to 4096, found 48"):
        DiscriminatorConfig(width=48, height=64)
    with pytest.raises(ValueError, match="max_channels: expected a whole number from 1 to 4096, found 0"):
        DiscriminatorConfig(width=64, height=64, max_channels=0)
    with pytest.raises(ValueError, match=r"expected images \[B, 3, 4, 16\], found \[1, 3, 16, 16\]"):
        make_discriminator(16, 4, max_channels=4)(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(("width", "height"), [(16, 16), (16, 4), (8, 2)])
def test_a_grown_discriminator_says_the_same_of_enlarged_pictures(width, height):
    small = make_discriminator(width, height, channel_base=256, max_channels=64)
    image = torch.rand(4, 3, height, width) * 2 - 1
    enlarged = image.repeat_interleave(2, -1).repeat_interleave(2, -2)
    large = grown(small)
    assert (large.config.width, large.config.height) == (2 * width, 2 * height)
    expected, found = small(image), large(enlarged)
    assert max_error(found.score, expected.score) < ROUNDING and max_error(found.camera, expected.camera) < ROUNDING
    again = grown(large)(enlarged.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert max_error(again.score, expected.score) < ROUNDING


def test_all_of_a_grown_discriminator_learns():
    large = grown(make_discriminator(8, 8, channel_base=128, max_channels=32))
    optimizer = torch.optim.Adam(large.parameters())
    image = torch.rand(4, 3, 16, 16) * 2 - 1
    for _ in range(2):  # the first step moves zeros that gradients do not pass yet
        optimizer.zero_grad()
        large(image).score.square().sum().backward()
        optimizer.step()
    assert all(parameter.grad.abs().max() > 0 for name, parameter in large.named_parameters() if "conv" in name)
    assert (large.from_rgb.weight.grad.flatten(1).abs().amax(1) > 0).all()


def test_growth_needs_channels():
    with pytest.raises(ValueError, match="expected 3 to 3 channels for 32 pixels, found 2"):
        grown(make_discriminator(channel_base=64))
    with pytest.raises(ValueError, match="expected 3 to 7 channels for 32 pixels, found 8"):
        grown(make_discriminator(max_channels=8))
