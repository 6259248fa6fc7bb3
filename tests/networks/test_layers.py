"""Layers against their unfolded formulas and explicit loops."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from networks.layers import FiLMLayer, MappingNetwork, ModulatedConv2d
from tests.networks.helpers import max_error


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def make_film(batch: int = 2, points: int = 5):
    layer = FiLMLayer(3, 4).double()
    x = torch.randn(batch, points, 3, dtype=torch.float64)
    frequency, phase = torch.randn(2, batch, 4, dtype=torch.float64)
    return layer, x, frequency, phase


def test_film_is_the_unfolded_formula():
    layer, x, frequency, phase = make_film()
    unfolded = torch.sin((15 * frequency + 30)[:, None] * (x @ layer.weight.T + layer.bias) + phase[:, None])
    assert max_error(layer(x, frequency, phase), unfolded) < 1e-12
    with torch.no_grad():  # the sine is taken in place there
        assert max_error(layer(x, frequency, phase), unfolded) < 1e-12


def test_film_by_hand():
    """W = 2, b = 0.5, f = 15 * 0.1 + 30 = 31.5, p = -0.25 at x = 0.3: sin(31.5 * 1.1 - 0.25)."""
    layer = FiLMLayer(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(0.5)
    value = layer(torch.full((1, 1, 1), 0.3), torch.full((1, 1), 0.1), torch.full((1, 1), -0.25))
    assert value.item() == pytest.approx(math.sin(31.5 * 1.1 - 0.25), abs=1e-5)  # float32 argument of 34.4


def test_film_gradients():
    layer, x, frequency, phase = make_film(points=2)
    weight, bias = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias))

    def run(x, frequency, phase, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x, frequency, phase))

    inputs = [v.requires_grad_() for v in (x, frequency, phase)]
    assert gradcheck(run, (*inputs, weight, bias), atol=1e-4, rtol=1e-4)  # sin(30 x): third derivatives are large


def test_film_initialisation():
    """SIREN: U(+-1/in) in the first layer, U(+-sqrt(6/in)/25) in the others; a uniform's std is bound/sqrt(3)."""
    for first, bound in ((True, 1 / 64), (False, math.sqrt(6 / 64) / 25)):
        weight = FiLMLayer(64, 256, first=first).weight
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_mapping_network_is_three_leaky_layers_and_a_linear_one():
    network = MappingNetwork(5, 7, 6)
    z = torch.randn(3, 5)
    x = z
    for i in (0, 2, 4):
        x = F.leaky_relu(x @ network[i].weight.T + network[i].bias, 0.2)
    assert max_error(network(z), x @ network[6].weight.T + network[6].bias) < 1e-6
    assert len(network) == 7


def test_mapping_network_initialisation():
    """Kaiming for LeakyReLU(0.2): std = sqrt(2 / 1.04 / fan_in); the last layer has a quarter of it."""
    network = MappingNetwork(128, 256, 512)
    for i, fan_in, gain in ((0, 128, 1), (2, 256, 1), (4, 256, 1), (6, 256, 0.25)):
        assert network[i].weight.std().item() == pytest.approx(gain * math.sqrt(2 / 1.04 / fan_in), rel=0.03)


def naive_modulated_conv(x, style, weight, bias):
    """x [C, H, W], style [C]: every output by its own sum."""
    out, _, size, _ = weight.shape
    _, height, width = x.shape
    result = torch.empty(out, height, width, dtype=x.dtype)
    padded = F.pad(x, [size // 2] * 4)
    for o in range(out):
        filters = weight[o] * style[:, None, None]
        filters = filters / math.sqrt((filters**2).sum() + 1e-8)
        for i in range(height):
            for j in range(width):
                result[o, i, j] = (padded[:, i : i + size, j : j + size] * filters).sum() + bias[o]
    return result


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_modulated_conv_against_loops(kernel_size):
    conv = ModulatedConv2d(3, 2, kernel_size).double()
    torch.nn.init.normal_(conv.bias)
    x, style = torch.randn(2, 4, 3, 5, 6, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    result = conv(x, style).detach()
    assert result.shape == (2, 4, 2, 5, 6)
    for b in range(2):
        for k in range(4):
            naive = naive_modulated_conv(x[b, k], style[b], conv.weight.detach(), conv.bias.detach())
            assert max_error(result[b, k], naive) < 1e-12


def test_modulated_conv_ignores_the_size_of_a_style():
    conv = ModulatedConv2d(3, 2, 3).double()
    x, style = torch.randn(1, 1, 3, 5, 6, dtype=torch.float64), torch.rand(1, 3, dtype=torch.float64) + 0.5
    assert max_error(conv(x, 7 * style), conv(x, style)) < 1e-7  # 1e-8 under the root


def test_modulated_conv_gradients():
    conv = ModulatedConv2d(2, 2, 3).double()
    x = torch.randn(1, 2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    style = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(conv, (x, style))
    conv(x, style).sum().backward()
    assert conv.weight.grad.abs().max() > 0
    assert conv.bias.grad.tolist() == [18.0, 18.0]  # 2 images of 3 x 3
