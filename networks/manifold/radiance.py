"""phi: colour and opacity on the manifolds (paper section 3.1; GRAM's radiance generator)."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from networks.layers import FiLMLayer, MappingNetwork, warp

NUM_LAYERS = 8
OPACITY_SCALE = 0.04  # a manifold's alpha = 1 - exp(-0.04 softplus(sigma))
INITIAL_SIGMA = 21.0  # summed over the heads: alpha starts near 0.57
VIEW_DIRECTION = (0.0, 0.0, -1.0)  # held fixed: radiance does not depend on the view


class RadianceStyle(NamedTuple):
    frequency: Tensor  # [B, 9 * C]
    phase: Tensor  # [B, 9 * C]


class RadianceSample(NamedTuple):
    rgb: Tensor  # [B, N, 3] in 0..1
    alpha: Tensor  # [B, N] in 0..1
    feature: Tensor  # [B, N, F] for U


class RadianceGenerator(nn.Module):
    """FiLM-SIREN; from layer 1 on every layer adds linear heads to sigma, rgb and feature."""

    direction: Tensor

    def __init__(self, latent_dim: int, mapping_dim: int, hidden_dim: int, feature_dim: int):
        super().__init__()
        self.mapping = MappingNetwork(latent_dim, mapping_dim, 2 * (NUM_LAYERS + 1) * hidden_dim)
        self.layers = nn.ModuleList(
            FiLMLayer(hidden_dim if i else 3, hidden_dim, first=i == 0) for i in range(NUM_LAYERS)
        )
        self.colour_layer = FiLMLayer(hidden_dim + 3, hidden_dim)  # reads [direction, features]
        heads = NUM_LAYERS - 1
        to_sigma, to_rgb, to_feature = (
            [nn.Linear(hidden_dim, width) for _ in range(heads)] for width in (1, 3, feature_dim)
        )
        self.to_sigma, self.to_rgb, self.to_feature = map(nn.ModuleList, (to_sigma, to_rgb, to_feature))
        self.register_buffer("direction", torch.tensor(VIEW_DIRECTION), persistent=False)
        for head in (*to_sigma, *to_rgb):
            nn.init.uniform_(head.weight, -math.sqrt(6 / hidden_dim) / 25, math.sqrt(6 / hidden_dim) / 25)
        for head in to_sigma:
            nn.init.constant_(head.bias, INITIAL_SIGMA / heads)
        for head in to_feature:
            nn.init.zeros_(head.bias)

    def style(self, latent: Tensor) -> RadianceStyle:
        """latent [B, 160] = [z_id, eps]."""
        return RadianceStyle(*self.mapping(latent).chunk(2, -1))

    def hidden(self, points: Tensor, style: RadianceStyle) -> Iterator[Tensor]:
        """Activations that the heads of sigma and feature read: 7 of [B, N, C], for canonical points [B, N, 3]."""
        x = warp(points)
        frequencies = style.frequency.chunk(NUM_LAYERS + 1, -1)  # the last one is the colour layer's
        phases = style.phase.chunk(NUM_LAYERS + 1, -1)
        first, *others = zip(self.layers, frequencies, phases, strict=False)
        with torch.autocast(x.device.type, enabled=False):  # arguments up to 60: bfloat16 would round them by 1/8
            x = first[0](x, *first[1:])
        for layer, frequency, phase in others:
            x = layer(x, frequency, phase)
            yield x

    def forward(self, points: Tensor, style: RadianceStyle) -> RadianceSample:
        """Canonical points [B, N, 3] -> radiance there."""
        sums: tuple[Tensor, ...] = ()
        for i, x in enumerate(self.hidden(points, style)):
            sigma, feature = self.to_sigma[i](x), self.to_feature[i](x)
            if i == len(self.to_rgb) - 1:
                x = torch.cat([self.direction.expand(*x.shape[:2], 3), x], -1)
                x = self.colour_layer(x, *(part.chunk(NUM_LAYERS + 1, -1)[-1] for part in style))
            here = self.to_rgb[i](x), sigma, feature
            sums = tuple(map(torch.add, sums, here)) if sums else here
        rgb, sigma, feature = sums
        alpha = 1 - torch.exp(-OPACITY_SCALE * nn.functional.softplus(sigma))
        return RadianceSample(torch.sigmoid(rgb), alpha.squeeze(-1), feature)
