"""U: super-resolution of the flattened manifolds (paper section 3.1; GRAM-HD).

A style-modulated RRDB network; every manifold is one image, and all manifolds of a person share their style.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.layers import MappingNetwork, ModulatedConv2d

RESIDUAL_SCALE = 0.2
SLOPE = 0.2  # of leaky ReLUs below 0
OUT_CHANNELS = 4  # rgb and alpha


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())


def _conv(in_channels: int, out_channels: int, gain: float = 1.0) -> nn.Conv2d:
    """3 x 3 convolution; a small gain keeps residual branches near zero at the start (ESRGAN)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=SLOPE, mode="fan_in", nonlinearity="leaky_relu")
    with torch.no_grad():
        conv.weight *= gain
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class DenseBlock(nn.Module):
    """Five densely connected convolutions with a scaled residual."""

    def __init__(self, features: int, growth: int):
        super().__init__()
        self.convs = nn.ModuleList(
            _conv(features + i * growth, features if i == 4 else growth, gain=0.1) for i in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same."""
        maps = [x]
        for conv in self.convs[:-1]:
            maps.append(_leaky(conv(torch.cat(maps, 1))))
        return torch.add(x, self.convs[-1](torch.cat(maps, 1)), alpha=RESIDUAL_SCALE)


class ResidualDenseBlocks(nn.Sequential):
    """RRDB: three dense blocks with a scaled residual around them."""

    def __init__(self, features: int, growth: int):
        super().__init__(*(DenseBlock(features, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same."""
        return torch.add(x, super().forward(x), alpha=RESIDUAL_SCALE)


class ManifoldSuperResolution(nn.Module):
    """[rgb, alpha, feature] maps -> [rgb, alpha] maps, 4 x larger a side.

    Args:
        latent_dim: of [z_id, eps].
        mapping_dim: width of the mapping network.
        in_channels: 4 + feature_dim.
        features, blocks, growth: of the RRDB trunk.
        up_channels: channels after each of the two x2 steps.
    """

    def __init__(
        self, latent_dim: int, mapping_dim: int, in_channels: int, features: int, blocks: int, growth: int,
        up_channels: tuple[int, int],
    ):  # fmt: skip
        super().__init__()
        widths = (features, *up_channels)
        self.style_dims = (*widths, up_channels[-1])  # two up convs, HR conv, output conv
        self.mapping = MappingNetwork(latent_dim, mapping_dim, sum(self.style_dims))
        with torch.no_grad():  # styles multiply weights: start at the identity
            self.mapping.output.bias.fill_(1.0)
        self.conv_first = _conv(in_channels, features)
        self.trunk = nn.Sequential(*(ResidualDenseBlocks(features, growth) for _ in range(blocks)))
        self.trunk_conv = _conv(features, features, gain=0.1)
        self.up_convs = nn.ModuleList(ModulatedConv2d(a, 4 * b, 3) for a, b in zip(widths, up_channels, strict=False))
        self.hr_conv = ModulatedConv2d(up_channels[-1], up_channels[-1], 3)
        self.output = ModulatedConv2d(up_channels[-1], OUT_CHANNELS, 1)

    def style(self, latent: Tensor) -> Tensor:
        """latent [B, 160] = [z_id, eps] -> [B, sum(style_dims)]."""
        return self.mapping(latent)

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """maps [B, K, 4 + F, h, w], style [B, sum(style_dims)] -> rgb and alpha [B, K, 4, 4h, 4w] in 0..1."""
        batch, count = maps.shape[:2]
        *up_styles, hr_style, output_style = style.split(self.style_dims, -1)
        x = self.conv_first(maps.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        x = x + self.trunk_conv(self.trunk(x))
        x = x.unflatten(0, (batch, count))
        for conv, conv_style in zip(self.up_convs, up_styles, strict=True):
            x = conv(x, conv_style)
            x = _leaky(F.pixel_shuffle(x.flatten(0, 1), 2)).unflatten(0, (batch, count))
        x = _leaky(self.hr_conv(x, hr_style))
        # Under autocast logits may be bfloat16, colours not: near 1 it has steps of 1/256.
        return torch.sigmoid(self.output(x, output_style).to(maps.dtype))
