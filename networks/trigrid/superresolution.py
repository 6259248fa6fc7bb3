"""From features of a small picture to a large one (EG3D, section 4.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.stylegan_layers import Noise, SynthesisBlock


def resized(x: Tensor, size: int) -> Tensor:
    """[B, C, H, W] -> [B, C, size, size], bilinear, antialiased where it shrinks; single precision at least."""
    if x.shape[-1] == size:
        return x
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # bfloat16 has no antialiased interpolation on a CPU
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)


class SuperResolution(nn.Module):
    """Two StyleGAN2 blocks that enlarge features and picture, all with one w.

    Args:
        features: channels of the features.
        style_dim: of w.
        input_size: pixels a side that are enlarged.
        image_size: pixels a side of the result: four times as many, or twice (the first block keeps the size).
        channels: of the blocks.
    """

    def __init__(
        self, features: int, style_dim: int, input_size: int, image_size: int, channels: tuple[int, int]
    ):  # fmt: skip
        super().__init__()
        self.input_size = input_size
        self.enlarges_twice = image_size == 4 * input_size
        first = image_size // 2
        self.block0 = SynthesisBlock(features, channels[0], style_dim, first, 3, up=self.enlarges_twice)
        self.block1 = SynthesisBlock(channels[0], channels[1], style_dim, image_size, 3)

    def forward(self, features: Tensor, picture: Tensor, w: Tensor, noise: Noise = "none") -> Tensor:
        """features [B, F, R, R], picture [B, 3, R, R], w [B, style_dim] -> [B, 3, image_size, image_size]."""
        if self.enlarges_twice or features.shape[-1] < self.input_size:
            features, picture = resized(features, self.input_size), resized(picture, self.input_size)
        return self.enlarge(features, picture, w, noise)

    def enlarge(self, features: Tensor, picture: Tensor, w: Tensor, noise: Noise = "none") -> Tensor:
        """The same of parts of pictures, of any size with ``noise`` none: [B, F, N, N] -> [B, 3, K N, K N], where K is
        the ratio of both sizes."""
        ws = w[:, None].expand(-1, 3, -1)
        x, picture = self.block0(features, picture, ws, noise)
        return self.block1(x, picture, ws, noise)[1]
