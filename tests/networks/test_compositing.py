"""Alpha compositing, by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from networks.compositing import Composite, composite, square_images
from tests.networks.helpers import max_error

RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
FLOAT = 1e-6  # a few roundings of numbers near 1 in float32


def blend(layers: list[tuple[tuple[float, float, float], float, float]]):
    """One ray through layers of (colour, alpha, depth) in any order -> rgb, alpha, depth as lists."""
    rgba = torch.tensor([[[[*colour, alpha] for colour, alpha, _ in layers]]])
    depth = torch.tensor([[[depth for *_, depth in layers]]])
    result = composite(rgba, depth, depth)
    return [part[0, 0].tolist() for part in result]


def test_one_layer():
    rgb, alpha, depth = blend([(RED, 0.25, 1.9)])
    assert rgb == pytest.approx([1.0, 0.75, 0.75], abs=FLOAT)  # 0.25 red + 0.75 white
    assert alpha == pytest.approx(0.25, abs=FLOAT)
    assert depth == pytest.approx(1.9, abs=FLOAT)


def test_two_layers():
    """0.5 red, then 0.5 * 0.4 = 0.2 green, then 0.3 white."""
    rgb, alpha, depth = blend([(RED, 0.5, 1.0), (GREEN, 0.4, 2.0)])
    assert rgb == pytest.approx([0.8, 0.5, 0.3], abs=FLOAT)
    assert alpha == pytest.approx(0.7, abs=FLOAT)
    assert depth == pytest.approx((0.5 * 1 + 0.2 * 2) / 0.7, abs=FLOAT)


def test_three_layers():
    """0.2 blue, 0.8 * 0.5 = 0.4 red, 0.8 * 0.5 * 0.25 = 0.1 green, 0.3 white; given out of order."""
    rgb, alpha, depth = blend([(GREEN, 0.25, 3.0), (BLUE, 0.2, 1.0), (RED, 0.5, 2.0)])
    assert rgb == pytest.approx([0.7, 0.4, 0.5], abs=FLOAT)
    assert alpha == pytest.approx(0.7, abs=FLOAT)
    assert depth == pytest.approx((0.2 * 1 + 0.4 * 2 + 0.1 * 3) / 0.7, abs=FLOAT)


def test_opaque_layer_hides_the_rest():
    rgb, alpha, depth = blend([(BLUE, 1.0, 2.0), (RED, 1.0, 1.0)])
    assert rgb == pytest.approx(RED, abs=FLOAT)
    assert (alpha, depth) == pytest.approx((1.0, 1.0), abs=FLOAT)


def test_all_transparent_is_white_without_depth():
    assert blend([(RED, 0.0, 1.0), (GREEN, 0.0, 2.0)]) == [[1.0, 1.0, 1.0], 0.0, 0.0]


def test_the_order_may_differ_from_the_depth():
    """Released weights are sorted by another distance than the one that the depth map averages."""
    rgba = torch.tensor([[[[*RED, 1.0], [*GREEN, 0.5]]]])
    result = composite(rgba, order=torch.tensor([[[2.0, 1.0]]]), depth=torch.tensor([[[5.0, 7.0]]]))
    assert result.rgb.tolist() == [[pytest.approx([0.5, 0.5, 0.0], abs=FLOAT)]]
    assert result.depth.item() == pytest.approx(0.5 * 7 + 0.5 * 5, abs=1e-5)


@given(st.permutations(range(6)), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_layers_may_come_in_any_order(permutation, seed):
    random = torch.Generator().manual_seed(seed)
    rgba = torch.rand(2, 4, 6, 4, generator=random, dtype=torch.float64)
    depth = torch.rand(2, 4, 6, generator=random, dtype=torch.float64)
    shuffled = composite(rgba[:, :, permutation], depth[:, :, permutation], depth[:, :, permutation])
    for ours, expected in zip(shuffled, composite(rgba, depth, depth), strict=True):
        assert torch.equal(ours, expected)


def test_layers_at_the_same_depth_keep_their_order():
    rgba = torch.rand(1, 1, 24, 4, generator=torch.Generator().manual_seed(0))
    level = torch.ones(1, 1, 24)
    expected = composite(rgba, torch.arange(24.0)[None, None], level)
    assert torch.equal(composite(rgba, level, level).rgb, expected.rgb)


@given(st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_ranges(seed):
    """Colours stay between the layers' and white, depth between the nearest and the farthest layer."""
    random = torch.Generator().manual_seed(seed)
    rgba, depth = torch.rand(1, 50, 5, 4, generator=random), torch.rand(1, 50, 5, generator=random) + 1
    result = composite(rgba, depth, depth)
    assert result.rgb.min() >= rgba[..., :3].min() - FLOAT and result.rgb.max() <= 1 + FLOAT
    assert result.alpha.min() >= 0 and result.alpha.max() <= 1 + FLOAT
    assert torch.all(result.depth >= depth.amin(-1) - FLOAT) and torch.all(result.depth <= depth.amax(-1) + FLOAT)


def test_composite_gradients():
    torch.manual_seed(0)
    rgba = (0.1 + 0.8 * torch.rand(1, 2, 3, 4, dtype=torch.float64)).requires_grad_()
    depth = torch.tensor([[[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda rgba, depth: composite(rgba, depth.detach(), depth), (rgba, depth))


def test_faint_layers_have_an_exact_depth():
    for alpha in (1e-3, 1e-8, 1e-20, 1e-37):
        assert blend([(RED, alpha, 1.9), (GREEN, 0.0, 1.5)])[2] == pytest.approx(1.9, rel=FLOAT), alpha


def test_empty_pixels_give_depth_no_gradient():
    """Beside pixels that do: a loss on depth trains, and nothing becomes NaN."""
    rgba = torch.full((1, 3, 2, 4), 0.5)
    rgba[0, 0, :, 3] = 0
    rgba[0, 1, :, 3] = 1e-40  # below the smallest normal number: 1 / alpha is infinite
    rgba, depth = rgba.requires_grad_(), torch.tensor([1.0, 3.0]).expand(1, 3, 2).clone().requires_grad_()
    result = composite(rgba, depth.detach(), depth)
    assert result.depth[0].tolist() == [0.0, 0.0, pytest.approx((0.5 * 1 + 0.25 * 3) / 0.75, abs=FLOAT)]
    result.depth.sum().backward()
    assert rgba.grad[0, :2].abs().max() == 0 and depth.grad[0, :2].abs().max() == 0
    assert depth.grad[0, 2].tolist() == pytest.approx([2 / 3, 1 / 3], abs=FLOAT)
    # d = (a + 3 (1 - a) b) / (a + (1 - a) b) at a = b = 0.5
    assert rgba.grad[0, 2, :, 3].tolist() == pytest.approx([-16 / 9, 8 / 9], abs=1e-5)


def test_square_images_by_hand():
    """Rays run along rows; colours go from 0..1 to -1..1."""
    rgb = torch.arange(12.0).reshape(1, 4, 3) / 12
    image, alpha, depth = square_images(Composite(rgb, rgb[..., 0], 2 * rgb[..., 0]))
    assert max_error(image[0, 1], torch.tensor([[1 / 12, 4 / 12], [7 / 12, 10 / 12]]) * 2 - 1) < FLOAT
    assert max_error(depth, 2 * alpha) == 0 and alpha[0].tolist() == rgb[0, :, 0].reshape(2, 2).tolist()


def test_gradients_of_opaque_layers():
    """As those of torch.cumprod, also behind layers that let nothing through."""
    alpha = torch.tensor(
        [[0.3, 1.0, 0.2, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True
    )
    rgba = torch.cat([torch.rand(2, 5, 3, dtype=torch.float64), alpha[..., None]], -1)
    depth = torch.arange(5.0, dtype=torch.float64).expand(2, 5)
    composite(rgba, depth, depth).rgb.sum().backward()
    ours, alpha.grad = alpha.grad, None
    through = torch.cumprod(torch.cat([torch.ones(2, 1), 1 - alpha[:, :-1] + 1e-10], 1), 1)
    weights = through * alpha
    ((weights[..., None] * rgba[..., :3].detach()).sum(-2) + 1 - weights.sum(-1)[:, None]).sum().backward()
    assert max_error(ours, alpha.grad) < 1e-12 * alpha.grad.abs().max()
