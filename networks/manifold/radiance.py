"""phi: colour and opacity on the manifolds (paper section 3.1; GRAM's radiance generator)."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.layers import FiLMLayer, MappingNetwork, sine, warp, weight_and_bias
from torch_utils.device import full_precision

NUM_LAYERS = 8
OPACITY_SCALE = 0.04  # a manifold's alpha = 1 - exp(-0.04 softplus(sigma))
INITIAL_SIGMA = 21.0  # summed over the heads: alpha starts near 0.57
VIEW_DIRECTION = (0.0, 0.0, -1.0)  # held fixed: radiance does not depend on the view


class RadianceStyle(NamedTuple):
    frequency: Tensor  # [B, 9 * C]
    phase: Tensor  # [B, 9 * C]


class StyledRadiance(NamedTuple):
    """phi of some people: what their styles make of its weights, once for all points."""

    layers: list[tuple[Tensor, Tensor]]  # 9 of weight [B, in, C] and bias [B, 1, C]; the last is the colour layer's
    heads: list[tuple[Tensor, Tensor]]  # 6 of weight [4, C] and bias [4]: to rgb and sigma


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

    @full_precision()
    def styled(self, style: RadianceStyle) -> StyledRadiance:
        """The layers and heads that :meth:`colours` runs; gradients flow to the weights and to the style."""
        films = (*self.layers, self.colour_layer)
        chunks = (part.chunk(len(films), -1) for part in style)
        layers = [film.folded(*pair) for film, *pair in zip(films, *chunks, strict=True)]
        weight, bias = layers.pop()
        directed, weight = weight[:, : len(self.direction)], weight[:, len(self.direction) :]
        layers.append(
            (weight, bias + (self.direction @ directed)[:, None])
        )  # the view direction is the same everywhere
        pairs = list(zip(self.to_rgb, self.to_sigma, strict=True))[:-1]
        joined = [zip(weight_and_bias(rgb), weight_and_bias(sigma), strict=True) for rgb, sigma in pairs]
        heads = [(torch.cat(weights), torch.cat(biases)) for weights, biases in joined]
        return StyledRadiance(layers, heads)

    def hidden(self, points: Tensor, styled: StyledRadiance) -> Iterator[Tensor]:
        """Activations that the heads of sigma and feature read: 7 of [B, N, C], for canonical points [B, N, 3]."""
        first, *others = styled.layers[:-1]
        with torch.autocast(points.device.type, enabled=False):  # arguments up to 60: bfloat16 would round them by 1/8
            x = sine(warp(points), *first)
        for layer in others:
            x = sine(x, *layer)
            yield x

    def colours(self, points: Tensor, styled: StyledRadiance) -> Tensor:
        """Canonical points [B, N, 3] -> rgb and alpha [B, N, 4] in 0..1."""
        return self._run(points, styled, features=False)[0]

    def _run(self, points: Tensor, styled: StyledRadiance, *, features: bool) -> tuple[Tensor, Tensor | None]:
        total: Tensor | None = None  # [B, N, 4] rgb and sigma
        feature: Tensor | None = None  # [B, N, F]
        for i, x in enumerate(self.hidden(points, styled)):
            if features:
                seen = self.to_feature[i](x)
                feature = seen if feature is None else feature + seen
            if i < len(styled.heads):
                here = F.linear(x, *styled.heads[i])
            else:
                coloured = sine(x, *styled.layers[-1])
                here = torch.cat([self.to_rgb[-1](coloured), self.to_sigma[-1](x)], -1)
            total = here if total is None else total + here
        assert total is not None
        alpha = 1 - torch.exp(-OPACITY_SCALE * F.softplus(total[..., 3:]))
        return torch.cat([torch.sigmoid(total[..., :3]), alpha], -1), feature

    def forward(self, points: Tensor, style: RadianceStyle) -> RadianceSample:
        """Canonical points [B, N, 3] -> radiance there."""
        colours, feature = self._run(points, self.styled(style), features=True)
        assert feature is not None
        return RadianceSample(colours[..., :3], colours[..., 3], feature)
