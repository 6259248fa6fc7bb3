"""The crossing search in plain torch: what the compiled implementations must agree with."""

import torch
from torch import Tensor


def find_crossings_ref(
    s: Tensor, levels: Tensor, *, either_direction: bool, min_step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """s [N, S], levels [K] -> index, weight, valid [N, K]; see ``find_crossings``."""
    near, far = s[:, None, :-1], s[:, None, 1:]  # [N, 1, S-1]
    level = levels[:, None]  # [K, 1]
    falls = (near >= level) & (far <= level)  # [N, K, S-1]
    hits = falls | ((near <= level) & (far >= level)) if either_direction else falls
    found, index = hits.to(torch.uint8).max(-1)  # the first of equal maxima
    found = found.bool()
    valid = falls.gather(-1, index[..., None]).squeeze(-1) if either_direction else found
    index = torch.where(found, index, s.shape[-1] - 2)
    s_near, s_far = s.gather(-1, index), s.gather(-1, index + 1)
    flat = ~found | ((s_far - s_near).abs() <= min_step)
    step = torch.where(flat, 1.0, s_near - s_far)
    weight = torch.where(flat, 1.0, (s_near - levels) / step)
    return index, weight, valid


def interpolate_ref(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """values [N, S, C], index and weight [N, K] -> [N, K, C]; see ``Crossings.interpolate``."""
    index = index.clamp(0, values.shape[1] - 2)[..., None].expand(-1, -1, values.shape[-1])
    near, far = values.gather(1, index), values.gather(1, index + 1)
    return near + (far - near) * weight[..., None]
