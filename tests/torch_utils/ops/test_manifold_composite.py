"""Lookup and compositing by hand, and the implementations against one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.manifold_composite import MAX_LAYERS, composite_manifolds, occupied_blocks

RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
FLOAT = 1e-6  # a few roundings of numbers near 1 in float32
MAP_TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def constant_maps(*layers: tuple[tuple[float, float, float], float], device: str = "cpu") -> Tensor:
    """Maps of 2 x 2 that are (colour, alpha) everywhere: [1, K, 2, 2, 4]."""
    rgba = torch.tensor([[*colour, alpha] for colour, alpha in layers], device=device)
    return rgba[None, :, None, None].expand(1, -1, 2, 2, -1)


def one_ray(*depths: float, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """coordinates, depth and valid of a single ray through the maps' middle."""
    depth = torch.tensor(depths, device=device)[None, None, None]
    return torch.zeros(*depth.shape, 2, device=device), depth, torch.ones_like(depth, dtype=torch.bool)


def make_scene(seed: int, *, dtype=torch.float32, size=(2, 5, 7), count: int = 24, map_size=(9, 6)):
    """Random maps, some texels opaque or empty; coordinates beyond the border; layers of equal depth."""
    random = torch.Generator().manual_seed(seed)
    batch, height, width = size
    maps = torch.rand(batch, count, *map_size, 4, generator=random, dtype=dtype)
    maps[..., 3] = (1.4 * maps[..., 3] - 0.2).clamp(0, 1)
    coordinates = 2.6 * torch.rand(batch, height, width, count, 2, generator=random, dtype=dtype) - 1.3
    depth = torch.randint(16, 33, (batch, height, width, count), generator=random).to(dtype) / 16
    valid = torch.rand(batch, height, width, count, generator=random) > 0.3
    return maps, coordinates, depth, valid


# ---- by hand ------------------------------------------------------------------------------------------------------


@over_implementations
def test_three_layers(impl, device):
    """0.2 blue, 0.8 * 0.5 = 0.4 red, 0.8 * 0.5 * 0.25 = 0.1 green, 0.3 white; given out of order."""
    maps = constant_maps((GREEN, 0.25), (BLUE, 0.2), (RED, 0.5), device=device)
    result = composite_manifolds(maps, *one_ray(3.0, 1.0, 2.0, device=device), impl=impl)
    assert result.rgb.flatten().tolist() == pytest.approx([0.7, 0.4, 0.5], abs=FLOAT)
    assert result.alpha.item() == pytest.approx(0.7, abs=FLOAT)
    assert result.depth.item() == pytest.approx((0.2 * 1 + 0.4 * 2 + 0.1 * 3) / 0.7, abs=FLOAT)


@over_implementations
def test_what_decides_the_order(impl, device):
    """Depth; or `order`; equals stay as they come; what is not valid is not there, whatever it says."""
    maps = constant_maps((RED, 1.0), (GREEN, 0.5), device=device)
    coordinates, depth, valid = one_ray(5.0, 7.0, device=device)

    def render(depth=depth, valid=valid, order=None):
        result = composite_manifolds(maps, coordinates, depth, valid, order=order, impl=impl)
        return result.rgb.flatten().tolist(), result.depth.item()

    assert render() == (pytest.approx(RED, abs=FLOAT), pytest.approx(5))
    assert render(order=-depth) == (pytest.approx([0.5, 0.5, 0], abs=FLOAT), pytest.approx(6))
    assert render(order=0 * depth) == (pytest.approx(RED, abs=FLOAT), pytest.approx(5))
    order = torch.tensor([math.nan, 1.0], device=device).expand_as(depth)
    assert render(order=order) == (pytest.approx([0.5, 0.5, 0], abs=FLOAT), pytest.approx(6))
    hidden = torch.tensor([False, True], device=device).expand_as(depth)
    for odd in (5.0, math.nan, -math.inf):
        odd_depth = torch.tensor([odd, 7.0], device=device).expand_as(depth)
        assert render(odd_depth, hidden) == (pytest.approx([0.5, 1, 0.5], abs=FLOAT), pytest.approx(7))
    assert render(valid=hidden & False) == ([1.0, 1.0, 1.0], 0.0)
    assert render(valid=torch.tensor([0.99, 0.991], device=device).expand_as(depth))[1] == pytest.approx(7)


@over_implementations
def test_lookup_by_hand(impl, device):
    """Pixels' centres of a map of 2 x 2 are at +-0.5; row 0 is the lowest y; beyond the border it repeats."""
    maps = torch.zeros(1, 1, 2, 2, 4, device=device)
    maps[..., 0] = torch.tensor([[0.1, 0.2], [0.3, 0.8]], device=device)
    maps[..., 3] = 1
    positions = [
        (-0.5, -0.5, 0.1), (0.5, -0.5, 0.2), (-0.5, 0.5, 0.3), (0.5, 0.5, 0.8), (0, 0, 1.4 / 4), (0.25, -0.5, 0.175),
        (0.25, 0.25, (0.1 + 0.2 * 3 + 0.3 * 3 + 0.8 * 9) / 16), (-1, -9, 0.1), (9, 1, 0.8), (0, math.inf, 0.55),
        (math.nan, 0.5, 0.3), (0.5, math.nan, 0.2),
    ]  # fmt: skip
    table = torch.tensor(positions, device=device)
    coordinates = table[None, None, :, None, :2]
    ones = torch.ones(1, 1, len(table), 1, device=device)
    red = composite_manifolds(maps, coordinates, ones, ones, impl=impl).rgb[0, 0, :, 0]
    assert red.tolist() == pytest.approx(table[:, 2].tolist(), abs=FLOAT)


@over_implementations
def test_upscaling_by_hand(impl, device):
    """Two rays become four pixels at 0, 1/3, 2/3 and 1 of the way between them: depths, positions and validity."""
    maps = constant_maps((RED, 1.0), (GREEN, 1.0), device=device)
    coordinates = torch.zeros(1, 1, 2, 2, 2, device=device)
    depth = torch.tensor([[1.0, 2.0], [4.0, 2.5]], device=device)[None, None]
    valid = torch.ones_like(depth)
    result = composite_manifolds(maps, coordinates, depth, valid, upscale=2, impl=impl)
    assert result.rgb.shape == (1, 2, 4, 3)
    for row in range(2):  # one row of rays: both rows of pixels are like it
        assert result.depth[0, row].tolist() == pytest.approx([1.0, 2.0, 2 + 1 / 3, 2.5], abs=FLOAT)
        assert result.rgb[0, row, :, 0].tolist() == pytest.approx([1, 1, 0, 0], abs=FLOAT)
    valid[0, 0, 1, 1] = 0  # green is seen by the first ray alone: nowhere between
    result = composite_manifolds(maps, coordinates, depth, valid, upscale=2, impl=impl)
    assert result.depth[0, 1].tolist() == pytest.approx([1, 2, 3, 4], abs=2 * FLOAT)


@over_implementations
def test_an_opaque_layer_learns_from_what_it_hides(impl, device):
    """C = a red + (1 - a) (b green + (1 - b) white) at a = 1: dC/da = red - (b green + (1 - b) white), dC/db = 0."""
    maps = constant_maps((RED, 1.0), (GREEN, 0.25), device=device).clone().requires_grad_()
    result = composite_manifolds(maps, *one_ray(1.0, 2.0, device=device), impl=impl)
    (gradient,) = torch.autograd.grad(result.rgb[0, 0, 0] @ torch.tensor([1.0, 10, 100], device=device), maps)
    gradient = gradient.sum((2, 3))[0]  # over the texels that share the fetch
    expected = [[1, 10, 100, 1 - 0.75 - 10 - 75], [0, 0, 0, 0]]
    assert gradient.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]


@over_implementations
def test_empty_pixels_give_no_gradient(impl, device):
    """An empty pixel, and one whose alpha is below the smallest normal number."""
    for alpha in (0.0, 1e-40):
        maps = constant_maps((RED, alpha), device=device).clone().requires_grad_()
        coordinates, depth, valid = one_ray(2.0, device=device)
        depth.requires_grad_()
        result = composite_manifolds(maps, coordinates, depth, valid, impl=impl)
        assert result.depth.item() == 0
        gradients = torch.autograd.grad(result.depth.sum(), (maps, depth))
        assert all(torch.equal(g, torch.zeros_like(g)) for g in gradients)


# ---- implementations agree ----------------------------------------------------------------------------------------


@over_compiled
@given(st.integers(0, 999), st.sampled_from(MAP_TYPES), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_implementations_agree(impl, device, seed, dtype, upscale, sorted_by_order):
    """Sums of up to 24 terms of order 1; where layers of equal depth meet, rounding may upscale them apart."""
    maps, coordinates, depth, valid = make_scene(seed, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    maps = maps.to(dtype)
    if upscale > 1:
        depth = depth + torch.arange(24) / 1000
    order = depth.flip(-1) if sorted_by_order else None
    if upscale == 1:  # what does not count may be anything
        depth[~valid], coordinates[~valid] = math.nan, math.inf
    expected = composite_manifolds(maps, coordinates, depth, valid, order=order, upscale=upscale, impl="ref")
    arguments = [part.to(device) for part in (maps, coordinates, depth, valid)]
    order = order if order is None else order.to(device)
    ours = composite_manifolds(*arguments, order=order, upscale=upscale, impl=impl)
    for a, b in zip(ours, expected, strict=True):
        assert a.dtype == b.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert a.shape == b.shape
        assert (a.cpu() - b).abs().max() < 3e-6


@over_implementations
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_maps_are_their_wide_selves(impl, device, dtype):
    """To the bit, subnormal numbers included."""
    maps, *crossings = (part.to(device) for part in make_scene(0))
    maps = (maps * torch.tensor([1, 1e-4, 1e-7, 1], device=device)).to(dtype)
    narrow, wide = (composite_manifolds(m, *crossings, impl=impl) for m in (maps, maps.float()))
    assert all(torch.equal(a, b) for a, b in zip(narrow, wide, strict=True))


@over_compiled
def test_every_half_precision_number(impl, device):
    """Each of the 65,536 as a texel seen head-on; infinities and NaN too."""
    for dtype in (torch.float16, torch.bfloat16):
        numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
        maps = torch.ones(1, 1, 256, 256, 4, dtype=dtype)
        maps[0, 0, :, :, 1] = numbers.reshape(256, 256)
        centres = (torch.arange(256) * 2 + 1) / 256 - 1
        coordinates = torch.stack([centres.expand(256, 256), centres[:, None].expand(256, 256)], -1)[None, :, :, None]
        ones = torch.ones(1, 256, 256, 1, device=device)
        rgb = composite_manifolds(maps.to(device), coordinates.to(device), ones, ones, impl=impl).rgb.cpu()
        finite = numbers.isfinite().reshape(256, 256)
        # The neighbours' weights are 0, but 0 times infinity is NaN.
        clean = finite & finite.roll(-1, 1) & finite.roll(-1, 0) & finite.roll((-1, -1), (0, 1))
        assert torch.equal(rgb[0, clean, 1], numbers.reshape(256, 256)[clean].float())
        assert not rgb[0, ~finite, 1].isfinite().any()


# ---- gradients ----------------------------------------------------------------------------------------------------


@over_implementations
@pytest.mark.parametrize("sorted_by_order", [False, True])
def test_gradients(impl, device, sorted_by_order):
    maps, coordinates, depth, valid = make_scene(3, dtype=torch.float64, size=(1, 2, 3), count=3, map_size=(4, 3))
    # gradcheck's steps must not swap layers; nor may alphas be at the ends of their range.
    depth, maps = depth + torch.arange(3) / 100, 0.8 * maps + 0.1
    leaves = [part.to(device).requires_grad_() for part in (maps, coordinates, depth)]
    valid, order = valid.to(device), depth.flip(-1).to(device) if sorted_by_order else None

    def run(maps, coordinates, depth):
        return composite_manifolds(maps, coordinates, depth, valid, order=order, impl=impl)

    assert gradcheck(run, leaves)
    upscaled = [*map(torch.detach, leaves[1:]), valid]
    assert gradcheck(lambda maps: composite_manifolds(maps, *upscaled, upscale=2, impl=impl), leaves[:1])


@over_compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("upscale", [1, 2])
def test_gradients_agree(impl, device, dtype, upscale):
    """Random cotangents, several blocks of rays; narrow maps get gradients of their own type."""
    maps, coordinates, depth, valid = make_scene(4, size=(2, 23, 17))
    depth = depth + torch.arange(24) / 1000
    # Away from alpha = 1, where plain torch divides rounding errors by 1e-10.
    maps[..., 3] *= 0.9
    gradients = []
    for which, where in (("ref", "cpu"), (impl, device)):
        leaves = [part.to(where) for part in (maps.to(dtype), coordinates, depth)]
        wanted = leaves if upscale == 1 else leaves[:1]
        for leaf in wanted:
            leaf.requires_grad_()
        result = composite_manifolds(*leaves, valid.to(where), upscale=upscale, impl=which)
        random = torch.Generator().manual_seed(0)
        cotangents = [torch.randn(part.shape, generator=random).to(where) for part in result]
        gradients.append([g.cpu() for g in torch.autograd.grad(result, wanted, cotangents)])
    assert gradients[1][0].dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}  # of the largest; of a number's bits
    for i, (expected, ours) in enumerate(zip(*gradients, strict=True)):
        limit = tolerance[dtype if i == 0 else torch.float32] * expected.abs().max()
        assert (ours.float() - expected.float()).abs().max() < limit


def test_gradients_on_a_cpu_are_the_same_every_time():
    maps, coordinates, depth, valid = make_scene(5, size=(1, 64, 64), map_size=(4, 4))
    maps.requires_grad_()
    runs = []
    for _ in range(3):
        result = composite_manifolds(maps, coordinates, depth, valid, impl="cpp")
        runs.append(torch.autograd.grad(result.rgb.square().sum(), maps)[0])
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])


# ---- occupied blocks ----------------------------------------------------------------------------------------------


def test_occupied_blocks_by_hand():
    """Blocks are 8 texels a side and see one beyond: a texel on a block's first row or column marks two, or four."""
    maps = torch.zeros(1, 3, 17, 20, 4)
    maps[0, 0, 9, 3, 3] = 0.5
    maps[0, 1, 8, 16, 3] = math.nan
    maps[0, 2, 16, 19, :3] = 1  # colour without opacity
    marks = occupied_blocks(maps)
    assert (marks.shape, marks.dtype) == ((1, 3, 3, 3), torch.uint8)
    assert marks[0, 0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert marks[0, 1].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert not marks[0, 2].any()


@over_implementations
@given(st.integers(0, 999), st.sampled_from([torch.float32, torch.float16]), st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_occupied_blocks_change_nothing(impl, device, seed, dtype, upscale):
    """Maps with a few spots in them, fetched anywhere, beyond the border too: to the bit as without the marks."""
    maps, *crossings = make_scene(seed, map_size=(21, 30))
    random = torch.Generator().manual_seed(seed)
    maps[..., 3] *= torch.rand(maps.shape[:-1], generator=random) > 0.99
    crossings[1] += torch.arange(24) / 1000
    maps, *crossings = (part.to(device) for part in (maps.to(dtype), *crossings))
    marks = occupied_blocks(maps)
    assert 0.1 < marks.float().mean() < 0.9
    expected = composite_manifolds(maps, *crossings, upscale=upscale, impl=impl)
    ours = composite_manifolds(maps, *crossings, upscale=upscale, occupied=marks, impl=impl)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


# ---- odd input ----------------------------------------------------------------------------------------------------


@over_implementations
def test_layouts(impl, device):
    """Strided tensors are as good as packed ones."""
    packed = [part.to(device) for part in make_scene(6)]
    strided = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in packed]
    results = [composite_manifolds(*parts, upscale=2, impl=impl) for parts in (packed, strided)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@over_implementations
@pytest.mark.parametrize("size", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_no_rays(impl, device, size):
    maps, *crossings = (part.to(device) for part in make_scene(7, size=size))
    result = composite_manifolds(maps.requires_grad_(), *crossings, impl=impl)
    assert (result.rgb.shape, result.alpha.shape) == ((*size, 3), size)
    result.rgb.sum().backward()
    assert not maps.grad.any()


@over_implementations
def test_smallest_and_largest(impl, device):
    """One texel, one layer, one ray; and as many layers as there may be."""
    maps = constant_maps((RED, 0.5), device=device)[:, :, :1, :1]
    result = composite_manifolds(maps, *one_ray(2.0, device=device), upscale=2, impl=impl)
    assert result.rgb.tolist() == [[[pytest.approx([1, 0.5, 0.5], abs=FLOAT)] * 2] * 2]
    many = constant_maps(*[(RED, 0.1)] * MAX_LAYERS, device=device)
    result = composite_manifolds(many, *one_ray(*map(float, range(MAX_LAYERS)), device=device), impl=impl)
    assert result.alpha.item() == pytest.approx(1 - 0.9**MAX_LAYERS, abs=FLOAT)


@over_implementations
def test_wrong_input(impl, device):
    names = ("maps", "coordinates", "depth", "valid")
    right = dict(zip(names, (part.to(device) for part in make_scene(8)), strict=True))

    def wrong(error, message, **changes):
        with pytest.raises(error, match=message):
            composite_manifolds(**{**right, "impl": impl, **changes})

    maps, coordinates, depth, valid = right.values()
    wrong(ValueError, r"maps: expected shape \[B, K, h, w, 4\], K from 1 to 64, found", maps=maps[..., :3])
    wrong(ValueError, "maps: expected shape", maps=maps[0])
    wrong(ValueError, "maps: expected shape", maps=maps[:, :, :0])
    wrong(ValueError, "maps: expected shape", maps=maps[:, :1].expand(-1, 65, -1, -1, -1))
    wrong(ValueError, r"coordinates: expected shape \[2, H, W, 24, 2\] for these maps", coordinates=coordinates[:1])
    wrong(ValueError, "coordinates: expected shape", coordinates=coordinates.flatten(1, 2))
    for name in names[2:]:
        wrong(ValueError, rf"{name}: expected shape \[2, 5, 7, 24\] as coordinates", **{name: depth[..., :1]})
    wrong(ValueError, "order: expected shape", order=depth[:1])
    wrong(TypeError, "depth: expected floating-point numbers, found torch.int64", depth=depth.long())
    wrong(TypeError, "valid: expected floating-point numbers, found torch.int64", valid=valid.long())
    wrong(TypeError, "maps: expected floating-point numbers, found torch.uint8", maps=maps.byte())
    wrong(TypeError, "maps: expected torch.float32.* found torch.float8", maps=maps.to(torch.float8_e5m2))
    wrong(ValueError, "depth and maps: expected one device", depth=depth.to("meta"))
    for upscale in (0, -1, 1.5, True):
        wrong(ValueError, "upscale: expected a whole number from 1, found", upscale=upscale)
    wrong(ValueError, "at least one ray to upscale", upscale=2, **{n: right[n][:, :0] for n in names[1:]})
    wrong(ValueError, "crossings that need gradients", upscale=2, depth=depth.clone().requires_grad_())
    marks = occupied_blocks(maps)
    wrong(ValueError, r"occupied: expected shape \[2, 24, 2, 1\] for these maps", occupied=marks[:1])
    wrong(TypeError, "occupied: expected torch.uint8, found torch.bool", occupied=marks.bool())
    wrong(ValueError, "occupied and maps: expected one device", occupied=marks.to("meta"))
    wrong(ValueError, "maps that need gradients", occupied=marks, maps=maps.clone().requires_grad_())
