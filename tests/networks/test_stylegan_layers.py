"""StyleGAN2's layers against golden values and by hand."""

import math

import numpy as np
import pytest
import torch

from networks import stylegan_layers as layers
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden, weights_of


@requires_golden
def test_filters():
    golden = read_golden("filters")
    torch.testing.assert_close(layers.upsample(golden["image"]), golden["up2"], rtol=0, atol=1e-5)
    torch.testing.assert_close(layers.downsample(golden["image"]), golden["down2"], rtol=0, atol=1e-5)


def test_filters_keep_a_constant():
    x = torch.full((1, 2, 8, 8), 3.0)
    torch.testing.assert_close(layers.upsample(x)[:, :, 2:-2, 2:-2], torch.full((1, 2, 12, 12), 3.0))
    torch.testing.assert_close(layers.downsample(x)[:, :, 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))


def test_linear_layers_scale_when_used():
    layer = layers.EqualLinear(4, 1, lr=0.01, bias=0.5, activate=True)
    with torch.no_grad():
        layer.weight.fill_(100.0)
    assert layer.bias.item() == pytest.approx(50.0)
    y = layer(torch.ones(1, 4))  # 4 * 100 * 0.01 / 2 + 0.5
    assert y.item() == pytest.approx(2.5 * math.sqrt(2), rel=1e-6)
    assert layer(-torch.ones(1, 4)).item() == pytest.approx(-1.5 * 0.2 * math.sqrt(2), rel=1e-6)


def test_modulation_is_folded_or_not():
    """Scaling x and the result is the convolution with scaled and renormalised weights."""
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    found = layers.modulated_conv(x, weight, style)
    for row in range(2):
        folded = weight * style[row, :, None, None]
        folded = folded / (folded.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        torch.testing.assert_close(found[row], torch.conv2d(x[row], folded, padding=1), rtol=0, atol=1e-5)


@requires_golden
def test_a_synthesis_network():
    golden = read_golden("generator")
    network = layers.SynthesisNetwork(32, 16, 288, channel_base=128, max_channels=12)
    network.load_state_dict(weights_of(golden, "backbone.synthesis."))
    assert network.num_ws == golden["num_ws"].item() == 6
    ws = golden["ws"][:, None].expand(-1, 6, -1)
    # float32 sums of some hundred terms
    torch.testing.assert_close(network(ws), golden["planes_const_noise"], rtol=0, atol=1e-4)
    without = network(ws, noise="none").mean(1)
    torch.testing.assert_close(without, golden["planes_no_noise_channel_mean"], rtol=0, atol=1e-4)


def test_random_noise_has_its_strength():
    torch.manual_seed(0)
    layer = layers.SynthesisLayer(2, 1, 4, 64)
    with torch.no_grad():
        layer.noise_strength.fill_(0.5)
        layer.bias.fill_(10.0)  # behind the leaky ReLU's bend
    x, w = torch.zeros(1, 2, 64, 64), torch.zeros(1, 4)
    y = layer(x, w, "random") / math.sqrt(2) - 10
    assert y.std().item() == pytest.approx(0.5, rel=0.05)  # of 4,096 draws
    assert layer(x, w, "none").std().item() == 0.0
    const = layer(x, w) / math.sqrt(2) - 10
    np.testing.assert_allclose(const[0, 0].detach(), 0.5 * layer.noise_const, atol=1e-5)


def test_resolutions_are_powers_of_two():
    with pytest.raises(ValueError, match="expected a power of 2 from 4 on, found 24"):
        layers.SynthesisNetwork(8, 24, 3)
