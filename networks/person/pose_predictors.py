"""Networks that guess a body's pose, whose labels nobody has (3DPortraitGAN, section 3.3).

A pose is the axis-angle of neck and head [6], radians. Inputs seen from the person's left are mirrored first and the
answer is mirrored back, so that both sides are learned from both ("explicit symmetry").
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from networks.stylegan_layers import EqualLinear


class PosePredictor(nn.Module):
    """Features [B, C] -> pose [B, 6]: layers with leaky ReLUs, the last linear.

    Args:
        in_dim: C.
        widths: of the inner layers.
        factors: F: the last layer is the sum of so many, each times a number that is given with the features; 0: one
            layer by itself.
    """

    def __init__(self, in_dim: int, widths: tuple[int, ...], pose_size: int = 6, factors: int = 0):
        super().__init__()
        ends = (in_dim, *widths)
        inner = (EqualLinear(*pair, activate=True) for pair in zip(ends, ends[1:], strict=False))
        self.net = nn.Sequential(*inner, EqualLinear(ends[-1] * (factors or 1), pose_size))

    def forward(self, features: Tensor, factors: Tensor | None = None, dropout: float = 0.0) -> Tensor:
        """See the class; ``factors`` [B, F]; ``dropout``: share of what inner layers say that is left out."""
        hidden = features
        for layer in self.net[:-1]:
            hidden = F.dropout(layer(hidden), dropout)
        if factors is not None:
            hidden = (hidden[:, :, None] * factors[:, None]).flatten(1)
        return self.net[-1](hidden)
