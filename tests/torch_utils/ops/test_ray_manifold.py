"""The crossing search by hand and against a slow loop, and its implementations against one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.ray_manifold import MAX_LEVELS, Crossings, find_crossings

LEVELS = torch.tensor([23.0, 15.5, 8.0])
NAN, INF = math.nan, math.inf


# ---- the rule -----------------------------------------------------------------------------------------------------


def slow_crossing(s: list[float], level: float, either_direction: bool) -> tuple[int, float, bool]:
    """The rule, sample by sample: (index, weight, valid)."""
    for i, (near, far) in enumerate(zip(s[:-1], s[1:], strict=True)):
        falls = near >= level >= far
        rises = near <= level <= far
        if falls or (either_direction and rises):
            weight = 1.0 if abs(far - near) <= 0.05 else (near - level) / (near - far)
            return i, weight, falls
    return len(s) - 2, 1.0, False


# Few distinct values, some of them levels: ties, equal neighbours and several crossings are common. Quarters and
# their quotients by the steps below are exact or well apart, so that only true ties are ties.
values = st.sampled_from([30.0, 23.0, 20.25, 20.28125, 15.5, 12.0, 8.0, 3.75, NAN])
samples = st.lists(values, min_size=2, max_size=8)
level_lists = st.lists(values, min_size=1, max_size=6)


@over_implementations
@given(samples, level_lists, st.booleans())
@settings(max_examples=200, deadline=None)
def test_crossings_against_a_loop(impl, device, s, levels, either_direction):
    """Levels in any order, repeated or NaN; rays with ties, equal neighbours, turns and NaN."""
    rays, levels = torch.tensor([s], device=device), torch.tensor(levels, device=device)
    found = find_crossings(rays, levels, either_direction=either_direction, impl=impl)
    for k, level in enumerate(levels.tolist()):
        index, weight, valid = slow_crossing(s, level, either_direction)
        assert found.index[0, k] == index
        assert found.valid[0, k] == valid
        assert found.weight[0, k].item() == pytest.approx(weight, abs=1e-6)


@over_implementations
def test_crossings_by_hand(impl, device):
    def cross(s: list[float], level: float, **options) -> tuple[int, float, bool]:
        rays, levels = torch.tensor([s], device=device), torch.tensor([level], device=device)
        found = find_crossings(rays, levels, impl=impl, **options)
        return found.index.item(), pytest.approx(found.weight.item(), abs=1e-5), found.valid.item()

    assert cross([10.0, 6, 2], 8.0) == (0, 0.5, True)
    assert cross([10.0, 6, 2], 3.0) == (1, 0.75, True)
    assert cross([10.0, 8, 2], 8.0) == (0, 1.0, True)  # a tie belongs to the interval before it
    assert cross([8.0, 2, 1], 8.0) == (0, 0.0, True)
    assert cross([10.0, 6, 10, 2], 8.0) == (0, 0.5, True)  # the first of several
    assert cross([10.0, 9.5, 9], 8.0) == (1, 1.0, False)  # none: the last sample stands in
    assert cross([6.0, 9, 12], 8.0) == (1, 1.0, False)  # rising only
    assert cross([8.0, 8, 8], 8.0) == (0, 1.0, True)  # flat: the far end
    assert cross([8.03, 7.99, 2], 8.0) == (0, 1.0, True)  # as good as flat
    assert cross([8.04, 7.96, 2], 8.0) == (0, 0.5, True)  # steep enough
    assert cross([10.0, NAN, 2], 8.0) == (1, 1.0, False)  # nobody knows where it fell
    assert cross([10.0, NAN, 9, 7], 8.0) == (2, 0.5, True)
    assert cross([10.0, -INF, 2], 8.0) == (0, 0.0, True)
    # A ray that starts inside leaves first: that crossing counts, and hides the later falling one.
    assert cross([6.0, 10, 6], 8.0) == (1, 0.5, True)
    assert cross([6.0, 10, 6], 8.0, either_direction=True) == (0, 0.5, False)
    assert cross([10.0, 6, 10], 8.0, either_direction=True) == (0, 0.5, True)
    assert cross([10.0, 8, 10], 8.0, either_direction=True) == (0, 1.0, True)
    assert cross([8.0, 10, 6], 8.0, either_direction=True) == (0, 0.0, False)
    assert cross([6.0, 7, 7.5], 8.0, either_direction=True) == (1, 1.0, False)


@over_implementations
def test_rays_and_batches_are_independent(impl, device):
    s, levels = torch.randn(2, 300, 9, device=device) * 10 + 15, LEVELS.to(device)
    found = find_crossings(s, levels, impl=impl)
    for b in range(2):
        for r in range(0, 300, 37):
            alone = find_crossings(s[b, r], levels, impl=impl)
            assert all(torch.equal(ours[b, r], theirs) for ours, theirs in zip(found, alone, strict=True))


@over_implementations
def test_the_most_levels(impl, device):
    """One sample above all levels, one below: level k of K lies at k / K of the way."""
    levels = torch.arange(MAX_LEVELS, 0.0, -1, device=device)
    found = find_crossings(torch.tensor([[MAX_LEVELS, 0.0]], device=device), levels, impl=impl)
    assert found.valid.all()
    assert found.weight[0].tolist() == [k / MAX_LEVELS for k in range(MAX_LEVELS)]


# ---- values at the crossings --------------------------------------------------------------------------------------


@over_implementations
def test_interpolation_by_hand(impl, device):
    crossings = Crossings(
        torch.tensor([[1, 0]], device=device),
        torch.tensor([[0.25, 1.0]], device=device),
        torch.tensor([[True, False]], device=device),
    )
    values = torch.tensor([[[0.0, 5.0], [4.0, 6.0], [8.0, 2.0]]], device=device)
    assert crossings.interpolate(values, impl=impl).tolist() == [[[5.0, 5.0], [4.0, 6.0]]]
    beyond = crossings._replace(index=crossings.index + 9)
    assert beyond.interpolate(values, impl=impl).tolist() == [[[5.0, 5.0], [8.0, 2.0]]]  # the last interval


@over_implementations
@given(st.floats(0.05, 0.5), st.floats(8.5, 22.5))
@settings(max_examples=50, deadline=None)
def test_a_linear_field_is_crossed_exactly(impl, device, step, level):
    """s falling linearly: the interpolated position is the level's, whatever the sampling."""
    depth = torch.arange(0, 3, step, dtype=torch.float64, device=device)
    s = 25 - 8 * depth
    found = find_crossings(s, torch.tensor([level], dtype=torch.float64, device=device), impl=impl)
    position = found.interpolate(depth[:, None], impl=impl).item()
    if level >= s[-1]:
        assert position == pytest.approx((25 - level) / 8, abs=1e-9)
    else:
        assert (position, found.valid.item()) == (depth[-1].item(), False)


# ---- gradients ----------------------------------------------------------------------------------------------------


@over_implementations
@pytest.mark.parametrize("either_direction", [False, True])
def test_gradients(impl, device, either_direction):
    """With respect to the values and to s, where the step is steep; a flat step and a miss pass nothing to s."""
    rays = [[30.0, 26, 20, 12, 3], [30, 24.0, 16, 15, 14], [14.0, 20, 30, 20, 9.5]]
    s = torch.tensor(rays, dtype=torch.float64, device=device, requires_grad=True)
    points = torch.randn(3, 5, 3, dtype=torch.float64, device=device, requires_grad=True)
    levels = LEVELS.double().to(device)

    def run(s, points):
        found = find_crossings(s, levels, either_direction=either_direction, impl=impl)
        return found.interpolate(points, impl=impl)

    assert gradcheck(run, (s, points))
    (gradient,) = torch.autograd.grad(run(s, points)[1, 2].sum(), s)  # level 8 is missed by the second ray
    assert gradient.abs().max() == 0
    flat = torch.tensor([[8.01, 7.99]], dtype=torch.float64, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(run(flat, points[:1, :2]).sum(), flat)
    assert gradient.tolist() == [[0.0, 0.0]]


@over_compiled
@given(st.integers(0, 999), st.booleans())
@settings(max_examples=20, deadline=None)
def test_gradients_agree(impl, device, seed, either_direction):
    """Compiled and plain torch, random rays and cotangents; float32 sums of at most K terms in another order."""
    random = torch.Generator().manual_seed(seed)
    s = torch.randint(-4, 5, (2, 40, 17), generator=random) * 3.0 + torch.rand(2, 40, 17, generator=random)
    points, cotangent = torch.randn(2, 40, 17, 3, generator=random), torch.randn(2, 40, 24, 3, generator=random)
    gradients = []
    for which, where in (("ref", "cpu"), (impl, device)):
        leaves = [part.to(where).requires_grad_() for part in (s, points)]
        levels = torch.linspace(10, -10, 24).to(where)
        found = find_crossings(leaves[0], levels, either_direction=either_direction, impl=which)
        result = found.interpolate(leaves[1], impl=which)
        gradients.append([g.cpu() for g in torch.autograd.grad(result, leaves, cotangent.to(where))])
    for expected, ours in zip(*gradients, strict=True):
        assert (ours - expected).abs().max() <= 2e-6 * expected.abs().max()


@over_compiled
def test_one_of_two_gradients(impl, device):
    """Values alone, or weights alone, may need one; a second derivative is refused."""
    s = torch.tensor([[30.0, 20, 3]], device=device, requires_grad=True)
    points, levels = torch.arange(3.0, device=device)[None, :, None], LEVELS.to(device)
    found = find_crossings(s, levels, impl=impl)
    scale = torch.ones((), device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(scale * found.interpolate(points, impl=impl).sum(), s, create_graph=True)
    # Depths 0.7, 1 + 4.5/17, 1 + 12/17: their derivatives are 1 / step times (1 - weight) and weight.
    expected = [0.3 / 10, 0.7 / 10 + (1 - 4.5 / 17 + 1 - 12 / 17) / 17, (4.5 / 17 + 12 / 17) / 17]
    assert gradient[0].tolist() == pytest.approx(expected, abs=1e-6)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(Crossings(*map(torch.detach, found)).interpolate(points, impl=impl).sum(), points)
    assert gradient[0, :, 0].tolist() == pytest.approx([0.3, 0.7 + (12.5 + 5) / 17, 16.5 / 17], abs=1e-6)


# ---- implementations agree ----------------------------------------------------------------------------------------


@over_compiled
@given(st.integers(0, 999), st.booleans(), st.sampled_from([(0, 5), (1, 2), (7, 3), (300, 64)]))
@settings(max_examples=60, deadline=None)
def test_implementations_agree(impl, device, seed, either_direction, size):
    """To the bit, on rays with many ties, NaN and infinities, with sizes that are no multiple of anything."""
    random = torch.Generator().manual_seed(seed)
    s = torch.randint(4, 26, size, generator=random) + torch.randint(0, 3, size, generator=random) / 40
    for odd in (NAN, INF, -INF):
        s[torch.rand(size, generator=random) < 0.02] = odd
    levels = torch.randint(4, 26, (24,), generator=random).float()
    expected = find_crossings(s, levels, either_direction=either_direction, impl="ref")
    ours = find_crossings(s.to(device), levels.to(device), either_direction=either_direction, impl=impl)
    for a, b in zip(ours, expected, strict=True):
        assert torch.equal(a.cpu().nan_to_num(nan=-7.0), b.nan_to_num(nan=-7.0))
    points = torch.randn(*size, 3, generator=random)
    carried = ours.interpolate(points.to(device), impl=impl).cpu()
    assert torch.equal(carried.nan_to_num(nan=-7.0), expected.interpolate(points, impl="ref").nan_to_num(nan=-7.0))


# ---- odd input ----------------------------------------------------------------------------------------------------


@over_implementations
def test_layouts_and_types(impl, device):
    """Strided tensors are as good as packed ones; half precision is computed in float32, float64 in float64."""
    packed = torch.randint(0, 30, (6, 5, 9)).to(device).float()  # small integers: exact in bfloat16
    levels = LEVELS.to(device)
    expected = find_crossings(packed, levels, impl=impl)
    strided = packed.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    wide_levels = levels.repeat_interleave(2)[::2]
    for s in (strided, packed.bfloat16(), packed.half(), packed.double()):
        found = find_crossings(s, wide_levels, impl=impl)
        assert torch.equal(found.index, expected.index) and torch.equal(found.valid, expected.valid)
        assert found.weight.dtype == (torch.float64 if s.dtype == torch.float64 else torch.float32)
        assert (found.weight - expected.weight).abs().max() < 1e-6
        values = s[..., None].expand(-1, -1, -1, 2)
        assert found.interpolate(values, impl=impl).dtype == found.weight.dtype


@over_implementations
def test_no_rays(impl, device):
    levels = LEVELS.to(device)
    for shape in ((0, 5), (2, 0, 5)):
        found = find_crossings(torch.zeros(shape, device=device, requires_grad=True), levels, impl=impl)
        assert [part.shape for part in found] == [(*shape[:-1], 3)] * 3
        carried = found.interpolate(torch.zeros(*shape, 4, device=device), impl=impl)
        assert carried.shape == (*shape[:-1], 3, 4)
        carried.sum().backward()


@over_implementations
def test_wrong_input(impl, device):
    s, levels = torch.zeros(3, 5, device=device), LEVELS.to(device)

    def wrong(error, message, s=s, levels=levels, impl=impl):
        with pytest.raises(error, match=message):
            find_crossings(s, levels, impl=impl)

    wrong(ValueError, r"s: expected shape \[..., S\] with at least 2 samples, found \[3, 1\]", s=s[:, :1])
    wrong(ValueError, r"found \[\]", s=s[0, 0])
    wrong(ValueError, r"levels: expected shape \[K\] with K from 1 to 64, found \[0\]", levels=levels[:0])
    wrong(ValueError, r"found \[65\]", levels=torch.zeros(65, device=device))
    wrong(ValueError, r"found \[1, 3\]", levels=levels[None])
    wrong(TypeError, "s: expected floating-point numbers, found torch.int64", s=s.long())
    wrong(TypeError, "levels: expected floating-point numbers, found torch.int64", levels=levels.long())
    wrong(ValueError, "s and levels: expected one device", levels=levels.to("meta"))
    wrong(ValueError, "impl: expected one of auto, ref, cpp, cuda, found 'fast'", impl="fast")

    found = find_crossings(s, levels, impl=impl)
    for values in (s, s[:, :1, None], s[:2, :, None], s[None, :, :, None]):
        with pytest.raises(ValueError, match=r"values: expected shape \[3, S, C\] with S >= 2, found"):
            found.interpolate(values, impl=impl)
    for odd in (found._replace(index=found.index.int()), found._replace(weight=found.weight[:, :2])):
        with pytest.raises(ValueError, match="crossings: expected int64 index and weight of one shape, found"):
            odd.interpolate(s[..., None], impl=impl)
    with pytest.raises(ValueError, match="values and crossings: expected one device"):
        found._replace(index=found.index.to("meta")).interpolate(s[..., None], impl=impl)
    with pytest.raises(TypeError, match="values: expected floating-point numbers"):
        found.interpolate(s[..., None].long(), impl=impl)


def test_implementations_for_other_devices():
    with pytest.raises(ValueError, match="impl='cuda' is for CUDA tensors, found one on cpu"):
        find_crossings(torch.zeros(3, 5), LEVELS, impl="cuda")
    with pytest.raises(ValueError, match="impl='cpp' is for CPU tensors, found one on meta"):
        find_crossings(torch.zeros(3, 5, device="meta"), LEVELS.to("meta"), impl="cpp")
