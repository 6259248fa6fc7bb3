"""D^p for frames: upsampling and the second filter as one filter on half as many cells each way."""

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.person.pose_deformation import KERNEL, PoseDeformationProcessor
from torch_utils.ops.smooth_volume import smooth_volume

Filter = tuple[Tensor, ...]  # as smooth_volume takes one, or three, one an axis, that are the same one after another


def filters_of(smoother: PoseDeformationProcessor, *, mean: bool = False) -> tuple[Filter, Filter]:
    """D^p's two filters as :func:`smooth_entries` takes them, or the ``mean`` of the entries' filters for all."""
    first, second = normalised_filter(smoother.weight1), after_upsampling(normalised_filter(smoother.weight2))
    if mean:
        first, second = (weight.mean(-1, keepdim=True).expand_as(weight) for weight in (first, second))
    return separated(first), separated(second)


def separated(weight: Tensor) -> Filter:
    """A filter [h, w, s, 16] whose entries sum to 1 as three, where it is a product of such: 23 taps instead of 405.

    D^p's are until it learns: it starts with mean filters. A GPU has a launch to do for each, and time for all taps.
    """
    parts = [weight.sum(axes, keepdim=True) for axes in ((1, 2), (0, 2), (0, 1))]
    product = parts[0] * parts[1] * parts[2]
    is_product = weight.device.type == "cpu" and (product - weight).abs().max() <= 1e-5 * weight.abs().max()
    return tuple(parts) if is_product else (weight,)


def smooth_entries(entries: Tensor, index: Tensor, filters: tuple[Filter, Filter], *, impl: str = "auto") -> Tensor:
    """entries [V, 16] of the vertices ``index`` [H, W, S], smoothed -> [H + 1, W + 1, S + 1, 16] at the even cells."""
    depth, height, width = (k // 2 for k in KERNEL)
    # On a CPU, rows are looked up in a third of the time that indexing takes.
    volume = _smooth(F.embedding(reflect(index, (height, width, depth)), entries), filters[0], impl)
    volume = reflect_upsampled(volume, (height // 2 + 1, width // 2 + 1, depth // 2 + 1))
    return _smooth(volume, filters[1], impl)


def _smooth(volume: Tensor, weights: Filter, impl: str) -> Tensor:
    for weight in weights:
        volume = smooth_volume(volume, weight, impl=impl)
    return volume


def normalised_filter(weight: Tensor) -> Tensor:
    """D^p's filter [16, 1, depth, height, width] as ``smooth_volume`` takes it: normalised, [h, w, s, 16]."""
    return (weight / weight.sum((2, 3, 4), keepdim=True))[:, 0].permute(2, 3, 1, 0).contiguous()


def after_upsampling(weight: Tensor) -> Tensor:
    """One filter for x2 trilinear upsampling followed by ``weight`` [h, w, s, 16], at the even upsampled cells.

    Upsampled cell 2j is a quarter of cell j - 1 and three quarters of cell j; cell 2j + 1 three quarters of cell j and
    a quarter of cell j + 1. So 9 cells around cell 2j are made of the 6 from j - 3 to j + 2, and 5 of 4.
    """
    for axis in range(3):
        taps = weight.shape[axis]
        reach = taps // 4 + 1
        spread = torch.zeros(taps, 2 * reach)  # [taps, cells j - reach .. j + reach - 1]
        for tap in range(taps):
            cell, odd = divmod(tap - taps // 2, 2)
            spread[tap, cell + reach] = 0.75
            spread[tap, cell + reach + (1 if odd else -1)] = 0.25
        weight = torch.tensordot(weight.movedim(axis, -1), spread.to(weight), 1).movedim(-1, axis)
    return weight.contiguous()


def reflect(volume: Tensor, padding: tuple[int, int, int]) -> Tensor:
    """Reflects the first three axes at their first and last cells."""
    for axis, pad in enumerate(padding):
        size = volume.shape[axis]
        index = torch.arange(-pad, size + pad, device=volume.device).abs()
        volume = volume.index_select(axis, torch.where(index < size, index, 2 * size - 2 - index))
    return volume


def reflect_upsampled(volume: Tensor, padding: tuple[int, int, int]) -> Tensor:
    """Reflects the first three axes where upsampling by two would have its first and last cells.

    These lie a quarter of a cell outside ours, so that a cell's image falls half-way between two. At the border this
    is not exactly what the method's padding of upsampled cells gives, but nearly.
    """
    sizes = volume.shape[:3]
    inner = [slice(pad, pad + size) for pad, size in zip(padding, sizes, strict=True)]
    result = volume.new_empty(*(size + 2 * pad for pad, size in zip(padding, sizes, strict=True)), *volume.shape[3:])
    result[tuple(inner)] = volume
    for axis, (pad, size) in enumerate(zip(padding, sizes, strict=True)):
        part = result[tuple([slice(None)] * (axis + 1) + inner[axis + 1 :])]  # further axes are not reflected yet
        for place, start in ((0, pad), (pad + size, size - 1)):
            between = torch.lerp(part.narrow(axis, start, pad), part.narrow(axis, start + 1, pad), 0.5)
            part.narrow(axis, place, pad).copy_(between.flip(axis))
    return result
