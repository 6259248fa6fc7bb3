"""D^p's filters for frames: a volume of 4 x 4 matrices, each entry filtered by itself (paper section 3.1)."""

import torch
from torch import Tensor

from torch_utils.custom_ops import aligned, select
from torch_utils.ops.smooth_volume_ref import smooth_volume_ref

ENTRIES = 16
# On a GPU a thread filters so many entries of so many cells in a row.
PART, CELLS = 4, 8


def smooth_volume(volume: Tensor, weight: Tensor, *, impl: str = "auto") -> Tensor:
    """Cross-correlation of every entry with a filter of its own, where the filter fits into the volume.

    Args:
        volume: [H, W, S, 16] float32.
        weight: [h, w, s, 16] float32, no larger than the volume.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        [H - h + 1, W - w + 1, S - s + 1, 16] float32. No gradients.

    Raises:
        ValueError: shapes, devices, or ``impl`` do not fit.
        TypeError: not float32.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    for name, tensor in (("volume", volume), ("weight", weight)):
        if tensor.ndim != 4 or tensor.shape[-1] != ENTRIES or 0 in tensor.shape:
            raise ValueError(f"{name}: expected shape [H, W, S, {ENTRIES}], found {list(tensor.shape)}")
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected torch.float32, found {tensor.dtype}")
    if any(w > v for v, w in zip(volume.shape, weight.shape, strict=True)):
        raise ValueError(f"weight: expected at most the volume's {list(volume.shape)}, found {list(weight.shape)}")
    if volume.device != weight.device:
        raise ValueError(f"volume and weight: expected one device, found {volume.device}, {weight.device}")
    volume, weight = aligned(volume.detach()), aligned(weight.detach())
    ops = select(impl, volume.device)
    if ops is None:
        return smooth_volume_ref(volume, weight)
    size = [v - w + 1 for v, w in zip(volume.shape[:3], weight.shape[:3], strict=True)]
    result = volume.new_empty(*size, ENTRIES)
    threads = size[0] * size[1] * -(-size[2] // CELLS) * (ENTRIES // PART)
    ops("smooth_volume_float", volume, weight, *volume.shape[:3], *weight.shape[:3], result, threads=threads)
    return result
