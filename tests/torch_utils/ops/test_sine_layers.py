"""Networks of sine layers by hand, and the implementations against one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.sine_layers import MAX_WIDTH, sine_layers

IDENTITY = (torch.ones(1, 1), torch.zeros(1))


def make_layers(seed: int, *widths: int, device: str = "cpu") -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(a, b, generator=random).to(device) * 3 / a**0.5, torch.randn(b, generator=random).to(device))
        for a, b in zip(widths, widths[1:], strict=False)
    ]


@over_implementations
def test_by_hand(impl, device):
    """One layer is x W + b; of two, the first is sin(x W + b)."""
    points = torch.tensor([[1.0, 2.0], [0.0, -1.0]], device=device)
    weight, bias = torch.tensor([[1.0, 10, 0], [100, 0, 5]], device=device), torch.tensor([0.0, 0.5, -1], device=device)
    assert sine_layers(points, [(weight, bias)], impl=impl).tolist() == [[201, 10.5, 9], [-100, 0.5, -6]]
    layers = [(weight, bias), (torch.tensor([[2.0], [0], [1]], device=device), torch.ones(1, device=device))]
    expected = [2 * math.sin(201) + math.sin(9) + 1, 2 * math.sin(-100) + math.sin(-6) + 1]
    assert sine_layers(points, layers, impl=impl).flatten().tolist() == pytest.approx(expected, abs=1e-6)


@over_implementations
@pytest.mark.parametrize("most", [1.0, 100.0, 1e4])
def test_sines(impl, device, most):
    """Within 1e-6 of the sine in float64, around multiples of pi / 2 as well; NaN and infinity are NaN."""
    quarters = (torch.arange(-100, 101) * (math.pi / 2) * min(1, most / 160)).float()
    x = torch.cat([torch.linspace(-most, most, 20_001), quarters])
    layers = [(weight.to(device), bias.to(device)) for weight, bias in (IDENTITY, IDENTITY)]
    ours = sine_layers(x[:, None].to(device), layers, impl=impl)[:, 0].cpu()
    assert (ours.double() - x.double().sin()).abs().max() < 1e-6
    odd = torch.tensor([[math.nan], [math.inf], [-math.inf]], device=device)
    assert sine_layers(odd, layers, impl=impl).isnan().all()


@over_compiled
@given(st.integers(0, 999), st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(0, 120))
@settings(max_examples=40, deadline=None)
def test_implementations_agree(impl, device, seed, widths, count):
    """Sizes that are no multiple of anything. Each layer triples the roundings of the one before."""
    points = torch.randn(count, widths[0], generator=torch.Generator().manual_seed(seed))
    expected = sine_layers(points, make_layers(seed, *widths), impl="ref")
    ours = sine_layers(points.to(device), make_layers(seed, *widths, device=device), impl=impl).cpu()
    assert ours.shape == expected.shape == (count, widths[-1])
    assert count == 0 or (ours - expected).abs().max() < 2e-4


@over_implementations
def test_layouts_and_widest(impl, device):
    """Strided tensors are as good as packed ones, up to the greatest width."""
    layers = make_layers(0, MAX_WIDTH, MAX_WIDTH, 3, device=device)
    points = torch.randn(50, MAX_WIDTH, generator=torch.Generator().manual_seed(0)).to(device)
    expected = sine_layers(points, layers, impl=impl)
    strided = [(weight.T.contiguous().T, bias.repeat_interleave(2)[::2]) for weight, bias in layers]
    assert (sine_layers(points.T.contiguous().T, strided, impl=impl) - expected).abs().max() < 1e-4


@over_implementations
def test_errors(impl, device):
    points, layers = torch.zeros(5, 2, device=device), make_layers(0, 2, 4, 3, device=device)

    def wrong(error, message, points=points, layers=layers):
        with pytest.raises(error, match=message):
            sine_layers(points, layers, impl=impl)

    wrong(ValueError, r"points: expected shape \[N, C\] with C from 1 to 256, found \[2\]", points=points[0])
    wrong(ValueError, "layers: expected at least one, found none", layers=[])
    wrong(ValueError, r"layers\[0\]: expected weight \[2, C\] and bias \[C\]", layers=layers[1:])
    wrong(ValueError, r"layers\[1\]: .* found \[4, 3\] and \[4\]", layers=[layers[0], (layers[1][0], layers[0][1])])
    wrong(ValueError, r"layers\[0\]: .* found \[2, 257\]", layers=make_layers(0, 2, 257, device=device))
    wrong(TypeError, "points: expected torch.float32, found torch.float64", points=points.double())
    narrow = [(layers[0][0], layers[0][1].half()), layers[1]]
    wrong(TypeError, r"layers\[0\] bias: expected torch.float32", layers=narrow)
    wrong(ValueError, r"layers\[0\] weight and points: expected one device", points=points.to("meta"))
