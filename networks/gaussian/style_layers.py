"""StyleGAN2's layers as a StyleUNet has them, and wavelets. Names of weights are those of the released avatars."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.stylegan_layers import EqualLinear, conv_upsampling, filtered, lrelu


def _haar(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Haar's transform of four numbers, which is its own inverse."""
    left, right, rising, falling = a + c, b + d, a - c, b - d
    return (left + right) / 2, (rising + falling) / 2, (left - right) / 2, (rising - falling) / 2


def to_wavelets(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 4 C, H/2, W/2]: Haar's ll, lh, hl and hh of all channels."""
    return torch.cat(_haar(*F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).unbind(2)), 1)


def from_wavelets(x: Tensor) -> Tensor:
    """[B, 4 C, H, W] -> [B, C, 2H, 2W]: the inverse of :func:`to_wavelets`."""
    return F.pixel_shuffle(torch.stack(_haar(*x.chunk(4, 1)), 2).flatten(1, 2), 2)


class EqualConv(nn.Module):
    """A convolution without bias, its weights scaled by their fan-in at every use."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.scale, self.stride, self.padding = 1 / math.sqrt(in_channels * kernel_size**2), stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class Activation(nn.Module):
    """A bias, leaky ReLU, and the gain that keeps variances."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return lrelu(x + self.bias[:, None, None])


class Blur(nn.Module):
    """As before a convolution of stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        return filtered(x, 2)


def conv_layer(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """A convolution with its activation."""
    conv = EqualConv(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return nn.Sequential(conv, Activation(out_channels))


def halving_layer(in_channels: int, out_channels: int) -> nn.Sequential:
    """The same of 3 x 3, to half the size."""
    return nn.Sequential(Blur(), EqualConv(in_channels, out_channels, 3, stride=2), Activation(out_channels))


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style, one for the whole batch."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, style_dim: int, *, demodulate=True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, out_channels, in_channels, kernel_size, kernel_size))
        self.modulation = EqualLinear(style_dim, in_channels, bias=1.0)
        self.scale, self.demodulate = 1 / math.sqrt(in_channels * kernel_size**2), demodulate

    def forward(self, x: Tensor, style: Tensor, *, up: bool = False) -> Tensor:
        """x [B, C, H, W], style [1, S]; to twice the size if ``up``."""
        weight = self.scale * self.weight[0] * self.modulation(style)[0][:, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        if up:
            return conv_upsampling(x, weight)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


class Noise(nn.Module):
    """How much of a fixed noise is added."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class StyledConv(nn.Module):
    """A modulated convolution, noise, activation."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int):
        super().__init__()
        self.conv = ModulatedConv(in_channels, out_channels, 3, style_dim)
        self.noise, self.activate = Noise(), Activation(out_channels)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor, *, up: bool = False) -> Tensor:
        return self.activate(self.conv(x, style, up=up) + self.noise.weight * noise)


class ToWavelets(nn.Module):
    """Features to the wavelets of the output."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int):
        super().__init__()
        self.conv = ModulatedConv(in_channels, 4 * out_channels, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 4 * out_channels, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return self.conv(x, style) + self.bias
