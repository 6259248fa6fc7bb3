"""StyleGAN2's layers (Karras et al. 2020): equalised learning rates, modulated convolutions, filtered resampling.

Weights are N(0, 1) and scaled when they are used, so that Adam moves all of them alike. Upsampling and downsampling
filter with the outer product of [1, 3, 3, 1] / 8.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE, GAIN = 0.2, math.sqrt(2.0)  # of leaky ReLUs: below 0, and of all of it, which keeps the variance
FIR = (1.0, 3.0, 3.0, 1.0)
Noise = Literal["random", "const", "none"]  # per pixel, drawn anew, as stored, or left out


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU times sqrt 2."""
    return F.leaky_relu(x, SLOPE) * GAIN


def unit_square(x: Tensor) -> Tensor:
    """Rows [B, C] brought to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-8)


# ---- Filters --------------------------------------------------------------------------------------------------------


def _fir(x: Tensor, gain: float) -> Tensor:
    """One filter [C, 1, 4, 4] for each channel of x [B, C, H, W], that sums to ``gain``."""
    taps = torch.tensor(FIR, dtype=x.dtype).to(x.device, non_blocking=True)
    return (torch.outer(taps, taps) * (gain / 64)).expand(x.shape[1], 1, 4, 4)


def filtered(x: Tensor, padding: int, *, stride: int = 1, gain: float = 1.0) -> Tensor:
    """[B, C, H, W] convolved with the filter, channel by channel, zeros beyond."""
    return F.conv2d(x, _fir(x, gain), stride=stride, padding=padding, groups=x.shape[1])


def upsample(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2H, 2W]: zeros between, filtered."""
    if x.device.type != "cpu":
        return F.conv_transpose2d(x, _fir(x, 4.0), stride=2, padding=1, groups=x.shape[1])
    with torch.autocast("cpu", enabled=False):  # in bfloat16 it takes 7 times as long there
        wide = x.float() if x.dtype == torch.bfloat16 else x
        return F.conv_transpose2d(wide, _fir(wide, 4.0), stride=2, padding=1, groups=x.shape[1]).to(x.dtype)


def downsample(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, H/2, W/2]: filtered, every second pixel."""
    return filtered(x, 1, stride=2)


def conv_upsampling(x: Tensor, weight: Tensor) -> Tensor:
    """3 x 3 convolution to twice the size: weight [C', C, 3, 3], x [B, C, H, W] -> [B, C', 2H, 2W]."""
    return filtered(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4.0)


def conv_downsampling(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution to half the size: weight [C', C, k, k] with k 1 or 3, x [B, C, H, W] -> [B, C', H/2, W/2]."""
    if weight.shape[-1] == 1:
        return F.conv2d(downsample(x), weight)
    return F.conv2d(filtered(x, 2), weight, stride=2)


# ---- Layers ---------------------------------------------------------------------------------------------------------


class EqualLinear(nn.Module):
    """x W^T lr / sqrt(in) + lr b.

    Args:
        lr: learning rate multiplier; weights start at N(0, 1) / lr.
        bias: where biases start.
        activate: leaky ReLU behind it.
    """

    def __init__(self, in_dim: int, out_dim: int, *, lr: float = 1.0, bias: float = 0.0, activate: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim) / lr)
        self.bias = nn.Parameter(torch.full((out_dim,), bias / lr))
        self.lr, self.activate = lr, activate

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_dim] -> [..., out_dim]."""
        y = F.linear(x, self.weight * (self.lr / math.sqrt(self.weight.shape[1])), self.bias * self.lr)
        return lrelu(y) if self.activate else y


class EqualConv2d(nn.Module):
    """Convolution with weights / sqrt(in k^2), bias, leaky ReLU.

    Args:
        down: to half the size.
        linear: neither bias nor leaky ReLU.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, down: bool = False, linear: bool = False
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = None if linear else nn.Parameter(torch.zeros(out_channels))
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W], or half of it each way."""
        weight = self.weight * (1 / math.sqrt(self.weight[0].numel()))
        padding = weight.shape[-1] // 2
        x = conv_downsampling(x, weight) if self.down else F.conv2d(x, weight, padding=padding)
        return x if self.bias is None else lrelu(x + self.bias[:, None, None])


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, up: bool = False) -> Tensor:
    """Convolution whose input channels are scaled by ``style`` [B, C] and whose output channels are renormalised.

    The scales are applied to x and to the result, which is the same and leaves one weight for the whole batch.
    """
    norm = torch.rsqrt(style.square() @ weight.square().sum((2, 3)).T + 1e-8)  # [B, C']
    x = x * style[:, :, None, None]
    x = conv_upsampling(x, weight) if up else F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return x * norm[:, :, None, None]


class SynthesisLayer(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU.

    Args:
        resolution: pixels a side of the result.
        up: twice the size.
    """

    noise_const: Tensor

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, resolution: int, *, up: bool = False):
        super().__init__()
        self.affine = EqualLinear(style_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.up = up

    def forward(self, x: Tensor, w: Tensor, noise: Noise = "const") -> Tensor:
        """x [B, C, H, W], w [B, style_dim] -> [B, C', R, R]."""
        x = modulated_conv(x, self.weight, self.affine(w), up=self.up)
        if noise == "random":
            x = x + self.noise_strength * torch.randn_like(x[:, :1])
        elif noise == "const":
            x = x + self.noise_strength * self.noise_const
        return lrelu(x + self.bias[:, None, None])


class ToRGB(nn.Module):
    """1 x 1 modulated convolution without renormalisation, linear."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int):
        super().__init__()
        self.affine = EqualLinear(style_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [B, C, H, W], w [B, style_dim] -> [B, C', H, W]."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        return F.conv2d(x * style[:, :, None, None], self.weight, self.bias)


class SynthesisBlock(nn.Module):
    """Two layers at one resolution, and the picture so far, to which theirs is added ("skip").

    Args:
        in_channels: 0 for the first block, which starts from a constant.
        out_channels: of the features.
        picture_channels: of the picture.
        up: the features and the picture come at half the resolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, resolution: int, picture_channels: int,
        *, up: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.up = up
        self.num_layers = 2 if in_channels else 1
        if in_channels:
            self.conv0 = SynthesisLayer(in_channels, out_channels, style_dim, resolution, up=up)
        else:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        self.conv1 = SynthesisLayer(out_channels, out_channels, style_dim, resolution)
        self.torgb = ToRGB(out_channels, picture_channels, style_dim)

    def forward(
        self, x: Tensor | None, picture: Tensor | None, ws: Tensor, noise: Noise = "const"
    ) -> tuple[Tensor, Tensor]:
        """Features [B, C, H, W] and picture [B, P, H, W] (None at the first block), ws [B, layers + 1, style_dim] ->
        both of this resolution."""
        if self.num_layers == 1:
            x = self.const.expand(len(ws), -1, -1, -1)
        else:
            assert x is not None
            x = self.conv0(x, ws[:, 0], noise)
        x = self.conv1(x, ws[:, -2], noise)
        here = self.torgb(x, ws[:, -1])
        if picture is not None:
            here = here + (upsample(picture) if self.up else picture)
        return x, here


class SynthesisNetwork(nn.Module):
    """From a constant of 4 x 4 to a picture, a block for every doubling.

    Args:
        style_dim: of w.
        resolution: pixels a side, a power of 2.
        picture_channels: of the picture.
        channel_base, max_channels: a block of R pixels has min(channel_base / R, max_channels) channels.
    """

    def __init__(
        self, style_dim: int, resolution: int, picture_channels: int, *, channel_base: int = 32768,
        max_channels: int = 512,
    ):  # fmt: skip
        super().__init__()
        if resolution < 4 or resolution & (resolution - 1):
            raise ValueError(f"resolution: expected a power of 2 from 4 on, found {resolution}")
        self.resolutions = [4 << k for k in range((resolution // 4).bit_length())]
        width = 0
        for size in self.resolutions:
            channels = min(channel_base // size, max_channels)
            self.add_module(f"b{size}", SynthesisBlock(width, channels, style_dim, size, picture_channels))
            width = channels
        self.num_ws = sum(block.num_layers for block in self.blocks()) + 1

    def blocks(self) -> list[SynthesisBlock]:
        """By resolution."""
        return [getattr(self, f"b{size}") for size in self.resolutions]

    def forward(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """ws [B, num_ws, style_dim] -> [B, picture_channels, R, R]. A block's toRGB shares its w with the next conv."""
        x = picture = None
        first = 0
        for block in self.blocks():
            x, picture = block(x, picture, ws[:, first : first + block.num_layers + 1], noise)
            first += block.num_layers
        assert picture is not None
        return picture
