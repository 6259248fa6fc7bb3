"""DualStyleUNet: from the map of a pose to the front and the back map of what Gaussians do in it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.gaussian.style_layers import (
    StyledConv,
    ToWavelets,
    conv_layer,
    from_wavelets,
    halving_layer,
    to_wavelets,
)
from networks.stylegan_layers import EqualLinear, downsample, upsample

_MAPPING_SPEED = 0.01


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Sizes of a net. The published ones are the defaults: 74.5 million weights, 589 GFLOP a frame.

    ``widths`` are the channels from the innermost resolution up to ``size``, doubling each time. Smaller maps alone
    save little, for most weights sit at the innermost resolutions.
    """

    size: int = 512  # of the condition, pixels a side; maps are twice as large
    widths: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64)
    style_dim: int = 512
    mapping_layers: int = 2

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or self.size % 2 ** (len(self.widths) - 1):
            expected = f"a multiple of 2^{max(len(self.widths), 2) - 1} for {len(self.widths)} widths"
            raise ValueError(f"size: expected {expected}, at least two of them, found {self.size}")
        if min(*self.widths, self.style_dim, self.mapping_layers) < 1:
            raise ValueError("widths, style_dim, mapping_layers: expected numbers from 1")

    @property
    def levels(self) -> int:
        return len(self.widths) - 1

    @property
    def view_width(self) -> int:
        """Channels of the features that a view is added to."""
        return self.widths[-2]


class _FromCondition(nn.Module):
    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.conv = conv_layer(in_channels, width, 1)

    def forward(self, condition: Tensor) -> Tensor:
        return self.conv(condition)


class _Inward(nn.Module):
    """To half the size."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.conv1, self.conv2 = conv_layer(width, width, 3), halving_layer(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class DualStyleUNet(nn.Module):
    """One encoder, and a decoder for the front and one for the back map (names of weights: the released ones).

    Args:
        in_channels: of the condition.
        out_channels: of each of the two maps.
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int):
        super().__init__()
        self.config = config
        widths, levels, style_dim = config.widths, config.levels, config.style_dim
        self.style = nn.Sequential(
            nn.Identity(),
            *(
                EqualLinear(style_dim, style_dim, lr=_MAPPING_SPEED, activate=True)
                for _ in range(config.mapping_layers)
            ),
        )
        falling = widths[-2::-1]  # of the encoder, from half the size inwards
        self.conv_in = halving_layer(in_channels, falling[0])
        self.from_rgbs, self.cond_convs = nn.ModuleList(), nn.ModuleList()
        for width, inner in zip(falling, falling[1:], strict=False):
            self.from_rgbs.append(_FromCondition(in_channels, width))
            self.cond_convs.append(_Inward(width, inner))
        self.comb_convs = nn.ModuleList(
            conv_layer(width if i == levels - 1 else 2 * width, width, 3) for i, width in enumerate(falling)
        )
        for side in "12":
            convs, outputs = nn.ModuleList(), nn.ModuleList()
            for inner, width in zip(widths, widths[1:], strict=False):
                convs.extend([StyledConv(inner, width, style_dim), StyledConv(width, width, style_dim)])
                outputs.append(ToWavelets(width, out_channels, style_dim))
            setattr(self, f"convs{side}", convs)
            setattr(self, f"to_rgbs{side}", outputs)
        self.noises = nn.Module()
        for i in range(2 * levels):
            size = config.size >> (levels - 1 - i // 2)
            self.noises.register_buffer(f"noise_{i}", torch.randn(1, 1, size, size))

    def start_at_zero(self) -> None:
        """Weights with which all maps are 0: where a pretraining to 0 would lead."""
        for name, weight in self.named_parameters():
            if name.startswith("to_rgbs") and name.endswith("conv.weight"):
                nn.init.zeros_(weight)

    def encode(self, condition: Tensor) -> list[Tensor]:
        """[B, C, S, S] -> features at S/2, S/4, ... ."""
        features = [self.conv_in(condition)]
        for from_condition, inward in zip(self.from_rgbs, self.cond_convs, strict=True):
            condition = downsample(condition)
            features.append(inward(features[-1] + from_condition(condition)))
        return features

    def decode(self, features: list[Tensor], side: int, w: Tensor, view: Tensor | None) -> Tensor:
        """The map [B, C, 2S, 2S] of ``side`` 1, the front, or 2, the back."""
        convs, outputs = getattr(self, f"convs{side}"), getattr(self, f"to_rgbs{side}")
        x, skip, last = features[-1], None, self.config.levels - 1
        for k in range(self.config.levels):
            x = self.comb_convs[last - k](x if k == 0 else torch.cat([x, features[last - k]], 1))
            x = convs[2 * k](x, w, getattr(self.noises, f"noise_{2 * k}"), up=True)
            x = convs[2 * k + 1](x, w, getattr(self.noises, f"noise_{2 * k + 1}"))
            output = outputs[k](x, w)
            skip = output if skip is None else output + to_wavelets(upsample(from_wavelets(skip)))
            if view is not None and k == last - 1:
                x = x + F.interpolate(view, x.shape[-2:], mode="bilinear")
        assert skip is not None
        return from_wavelets(skip)

    def forward(
        self, condition: Tensor, views: tuple[Tensor, Tensor] | None = None, style: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps of the front and of the back.

        Args:
            condition: [B, C, S, S].
            views: features [B, ``view_width``, h, w] of front and back (:class:`ViewFeatures`).
            style: [1, style_dim]; by default a constant.

        Returns:
            Two of [B, out_channels, 2S, 2S].
        """
        style = condition.new_ones(1, self.config.style_dim) if style is None else style
        w = self.style(style * torch.rsqrt(style.square().mean(-1, keepdim=True) + 1e-8))
        features = self.encode(condition)
        front, back = (None, None) if views is None else views
        return self.decode(features, 1, w, front), self.decode(features, 2, w, back)


class ViewFeatures(nn.Sequential):
    """Of the cosines between normals and the direction to the camera: [B, 1, S, S] -> [B, width, S/4, S/4]."""

    def __init__(self, middle: int, width: int):
        first, second = nn.Conv2d(1, middle, 4, stride=2, padding=1), nn.Conv2d(middle, width, 4, stride=2, padding=1)
        super().__init__(first, nn.LeakyReLU(0.2), second)
