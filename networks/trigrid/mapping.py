"""From noise and conditions to styles (StyleGAN2; 3DPortraitGAN conditions on the camera and the body's pose)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.stylegan_layers import EqualLinear, unit_square

LEARNING_RATE = 0.01  # of the inner layers, a multiplier
W_AVERAGE_BETA = 0.998  # of the running mean of w


class ConditionedMapping(nn.Module):
    """[z, condition] -> w.

    Args:
        latent_dim: of z; 0: the condition alone, as a discriminator has it.
        condition_dim: of the condition.
        style_dim: of w.
        layers: behind the embedding of the condition.
    """

    w_avg: Tensor

    def __init__(self, latent_dim: int, condition_dim: int, style_dim: int, *, layers: int = 2):
        super().__init__()
        self.embed = EqualLinear(condition_dim, style_dim)
        widths = (latent_dim + style_dim, *[style_dim] * layers)
        self.num_layers = layers
        for k in range(layers):
            self.add_module(f"fc{k}", EqualLinear(widths[k], widths[k + 1], lr=LEARNING_RATE, activate=True))
        if latent_dim:
            self.register_buffer("w_avg", torch.zeros(style_dim))

    def forward(self, z: Tensor | None, condition: Tensor) -> Tensor:
        """z [B, latent_dim], condition [B, condition_dim] -> w [B, style_dim]."""
        x = unit_square(self.embed(condition))
        if z is not None:
            x = torch.cat([unit_square(z), x], -1)
        for k in range(self.num_layers):
            x = getattr(self, f"fc{k}")(x)
        return x

    @torch.no_grad()
    def track(self, w: Tensor) -> None:
        """Move the running mean of w towards that of a batch [B, style_dim]."""
        self.w_avg.copy_(w.mean(0).lerp(self.w_avg, W_AVERAGE_BETA))


def truncate(ws: Tensor, w_avg: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """The first ``cutoff`` (default: all) of ws [B, L, C] drawn towards the mean w; psi 1 leaves them as they are."""
    if psi == 1.0:
        return ws
    cutoff = ws.shape[1] if cutoff is None else cutoff
    return torch.cat([w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], 1)
