"""Depthwise filtering by hand, and the implementations against one another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.smooth_volume import smooth_volume


@over_implementations
def test_by_hand(impl, device):
    """Every entry has its own filter, which is not flipped: taps 1, 10 and 100 times entry + 1 along each axis."""
    volume = torch.tensor([2.0, 3.0, 5.0], device=device)
    taps = torch.tensor([1.0, 10.0, 100.0], device=device)
    entries = torch.arange(1.0, 17, device=device)
    for axis in range(3):
        shape = [3 if i == axis else 1 for i in range(3)]
        result = smooth_volume(
            volume.reshape(*shape, 1).expand(*shape, 16), taps.reshape(*shape, 1) * entries, impl=impl
        )
        assert result.shape == (1, 1, 1, 16)
        assert torch.equal(result.flatten(), 532 * entries)


@over_compiled
@given(st.integers(0, 999), st.tuples(*[st.integers(1, 5)] * 3), st.tuples(*[st.integers(0, 14)] * 3))
@settings(max_examples=30, deadline=None)
def test_implementations_agree(impl, device, seed, taps, more):
    """Sums of up to 125 products of order 1."""
    random = torch.Generator().manual_seed(seed)
    volume = torch.randn(*(a + b for a, b in zip(taps, more, strict=True)), 16, generator=random)
    weight = torch.randn(*taps, 16, generator=random)
    expected = smooth_volume(volume, weight, impl="ref")
    ours = smooth_volume(volume.to(device), weight.to(device), impl=impl).cpu()
    assert ours.shape == expected.shape == (*(m + 1 for m in more), 16)
    assert (ours - expected).abs().max() < 1e-4


@over_implementations
def test_memory_order_does_not_matter(impl, device):
    volume = torch.randn(16, 7, 6, 5, generator=torch.Generator().manual_seed(0)).to(device).permute(3, 2, 1, 0)
    weight = torch.ones(2, 2, 2, 16, device=device)
    expected = smooth_volume(volume.contiguous(), weight, impl=impl)
    assert torch.equal(smooth_volume(volume, weight, impl=impl), expected)


@over_implementations
def test_errors(impl, device):
    volume, weight = torch.zeros(3, 3, 3, 16, device=device), torch.zeros(1, 2, 3, 16, device=device)
    for bad in (volume[0], volume[..., :12], volume[:0]):
        with pytest.raises(ValueError, match=r"volume: expected shape \[H, W, S, 16\], found"):
            smooth_volume(bad, weight, impl=impl)
    with pytest.raises(ValueError, match=r"weight: expected at most the volume's \[3, 3, 3, 16\], found"):
        smooth_volume(volume, torch.zeros(1, 4, 1, 16, device=device), impl=impl)
    with pytest.raises(TypeError, match="weight: expected torch.float32, found torch.float16"):
        smooth_volume(volume, weight.half(), impl=impl)
    with pytest.raises(ValueError, match="expected one device"):
        smooth_volume(volume, weight.to("meta"), impl=impl)
