"""Filtering of a volume of matrices in plain torch: what the compiled implementations must agree with."""

from torch import Tensor
from torch.nn import functional as F


def smooth_volume_ref(volume: Tensor, weight: Tensor) -> Tensor:
    """volume [H, W, S, 16], weight [h, w, s, 16]; see ``smooth_volume``."""
    entries = volume.shape[-1]
    filtered = F.conv3d(volume.permute(3, 0, 1, 2)[None], weight.permute(3, 0, 1, 2)[:, None], groups=entries)
    return filtered[0].permute(1, 2, 3, 0).contiguous()
