"""U against its formula."""

import pytest
import torch
from torch.nn import functional as F

from networks.manifold.superresolution import DenseBlock, ManifoldSuperResolution, ResidualDenseBlocks
from tests.networks.helpers import max_error


@pytest.fixture
def network() -> ManifoldSuperResolution:
    torch.manual_seed(0)
    network = ManifoldSuperResolution(160, 12, 9, features=6, blocks=2, growth=3, up_channels=(5, 4))
    for name, parameter in network.named_parameters():
        if name.endswith("bias") and not name.startswith("mapping"):
            torch.nn.init.normal_(parameter, 0, 0.1)
    return network.double()


def make_arguments(network: ManifoldSuperResolution):
    maps = torch.randn(2, 3, 9, 5, 4, dtype=torch.float64)
    return maps, network.style(torch.randn(2, 160, dtype=torch.float64))


def conv(layer, x):
    return F.conv2d(x, layer.weight, layer.bias, padding=1)


def leaky(x):
    return torch.where(x > 0, x, 0.2 * x)


def dense_block(block, x):
    maps = x
    for layer in block.convs[:4]:
        maps = torch.cat([maps, leaky(conv(layer, maps))], 1)
    return x + 0.2 * conv(block.convs[4], maps)


def modulated(layer, x, style):
    weight = layer.weight * style[None, :, None, None]
    weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    return F.conv2d(x, weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def test_dense_block(network):
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    block = network.trunk[0][0]
    assert isinstance(block, DenseBlock)
    assert max_error(block(x), dense_block(block, x)) < 1e-12
    with torch.no_grad():  # its in-place branch leaves the input alone
        before = x.clone()
        assert max_error(block(x), dense_block(block, before)) < 1e-12
        assert torch.equal(x, before)


def test_residual_dense_blocks(network):
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    blocks = network.trunk[1]
    assert isinstance(blocks, ResidualDenseBlocks) and len(blocks) == 3
    inner = dense_block(blocks[2], dense_block(blocks[1], dense_block(blocks[0], x)))
    assert max_error(blocks(x), x + 0.2 * inner) < 1e-12


def test_the_unfolded_formula(network):
    """One manifold of one person at a time; styles of 6 + 5 + 4 + 4 channels."""
    maps, style = make_arguments(network)
    assert style.shape == (2, 19)
    result = network(maps, style).detach()
    assert result.shape == (2, 3, 4, 20, 16)
    for b in range(2):
        for k in range(3):
            first = conv(network.conv_first, maps[b, k, None])
            x = first + conv(network.trunk_conv, network.trunk[1](network.trunk[0](first)))
            for layer, part in zip(network.up_convs, (slice(0, 6), slice(6, 11)), strict=True):
                x = leaky(F.pixel_shuffle(modulated(layer, x, style[b, part]), 2))
            x = leaky(modulated(network.hr_conv, x, style[b, 11:15]))
            expected = torch.sigmoid(modulated(network.output, x, style[b, 15:]))
            assert max_error(result[b, k], expected[0].detach()) < 1e-12


def test_recording_gradients_changes_nothing(network):
    """Without gradients activations are taken in place; the input is not written to."""
    maps, style = make_arguments(network)
    before = maps.clone()
    with torch.no_grad():
        unrecorded = network(maps, style)
    assert torch.equal(maps, before)
    assert max_error(unrecorded, network(maps, style)) < 1e-12


def test_every_parameter_learns(network):
    (network(*make_arguments(network)) * torch.randn(2, 3, 4, 20, 16)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_styles_start_near_one():
    torch.manual_seed(0)
    network = ManifoldSuperResolution(160, 64, 9, features=6, blocks=1, growth=3, up_channels=(5, 4))
    style = network.style(torch.randn(500, 160))
    assert style.mean().item() == pytest.approx(1, abs=0.1)
    assert style.std().item() < 0.5


def test_residual_branches_start_small():
    """At the start the trunk is nearly the identity."""
    torch.manual_seed(0)
    network = ManifoldSuperResolution(160, 12, 9, features=16, blocks=2, growth=8, up_channels=(8, 4))
    x = torch.randn(1, 16, 12, 12)
    change = network.trunk(x) - 1.2**2 * x  # every RRDB of identities is x + 0.2 x
    assert change.std() < 0.05 * x.std()
    assert network.trunk_conv.weight.std() < 0.2 * network.conv_first.weight.std()
