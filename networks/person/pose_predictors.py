"""Networks that guess a body's pose, whose labels nobody has (3DPortraitGAN, section 3.3).

A pose is the axis-angle of neck and head [6], radians. Inputs seen from the person's left are mirrored first and the
answer is mirrored back, so that both sides are learned from both ("explicit symmetry").
"""

from __future__ import annotations

from torch import Tensor, nn

from networks.stylegan_layers import EqualLinear


class PosePredictor(nn.Module):
    """Features [B, C] -> pose [B, 6]: layers with leaky ReLUs, the last linear.

    Args:
        in_dim: C.
        widths: of the inner layers.
    """

    def __init__(self, in_dim: int, widths: tuple[int, ...], pose_size: int = 6):
        super().__init__()
        ends = (in_dim, *widths, pose_size)
        pairs = list(zip(ends, ends[1:], strict=False))
        self.net = nn.Sequential(*(EqualLinear(*pair, activate=pair is not pairs[-1]) for pair in pairs))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return self.net(features)
