"""The tri-grid: three stacks of planes that hold a person's features, and what reads them (PanoHead, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.stylegan_layers import EqualLinear

# Coordinates of a point that look into each of the three volumes, as (width, height, depth).
AXES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
HIDDEN_DIM = 64  # of the decoder


def read_planes(planes: Tensor, points: Tensor, box: float) -> Tensor:
    """Features at points, the mean of the three volumes; zeros outside.

    Args:
        planes: [B, 3, F, D, H, W].
        points: [B, N, 3] in a box of side ``box`` about the origin.

    Returns:
        [B, N, F].
    """
    batch, stacks, features = planes.shape[:3]
    where = (points * (2 / box))[:, :, torch.tensor(AXES, device=points.device)]  # [B, N, 3, 3]
    where = where.permute(0, 2, 1, 3).reshape(batch * stacks, 1, 1, -1, 3)
    found = F.grid_sample(planes.flatten(0, 1), where.to(planes.dtype), align_corners=False)  # [3 B, F, 1, 1, N]
    return found.view(batch, stacks, features, -1).mean(1).transpose(1, 2)


def as_planes(channels: Tensor, features: int, depth: int) -> Tensor:
    """The backbone's picture [B, 3 F D, H, W], feature f at depth d in channel D f + d -> planes [B, 3, F, D, H, W]."""
    return channels.unflatten(1, (3, features, depth))


class Decoder(nn.Module):
    """Features [B, N, F] -> density [B, N] (raw) and colour features [B, N, C]."""

    def __init__(self, features: int, colours: int):
        super().__init__()
        self.net = nn.Sequential(
            EqualLinear(features, HIDDEN_DIM), nn.Softplus(), EqualLinear(HIDDEN_DIM, 1 + colours)
        )  # fmt: skip

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        found = self.net(features)
        return found[..., 0], found[..., 1:]
