"""phi: colour and opacity on the manifolds (paper section 3.1; GRAM's radiance generator)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.layers import WARP_SCALE, FiLMLayer, MappingNetwork, weight_and_bias
from torch_utils.device import full_precision
from torch_utils.ops.point_network import point_network

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
    heads: list[Tensor | None]  # 9 of [4, C]: to rgb and sigma; the first layer has none
    shift: Tensor  # [4] the heads' biases together


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

    @torch.no_grad()
    def harden(self, times: float) -> None:
        """Make sigma so many times as far from that of an alpha of one half, everywhere: where a regression does not
        know whether there is something, it has learned the mean, smoke; this leads from there to what is likelier."""
        half = math.log(2) / OPACITY_SCALE
        for head in self.to_sigma:
            weight, bias = weight_and_bias(head)
            weight.mul_(times)
            bias.mul_(times).add_((1 - times) * half / len(self.to_sigma))

    def style(self, latent: Tensor) -> RadianceStyle:
        """latent [B, 160] = [z_id, eps]."""
        return RadianceStyle(*self.mapping(latent).chunk(2, -1))

    @full_precision()
    def styled(self, style: RadianceStyle) -> StyledRadiance:
        """The layers and heads that :meth:`colours` runs; gradients flow to the weights and to the style."""
        films = (*self.layers, self.colour_layer)
        chunks = (part.chunk(len(films), -1) for part in style)
        layers = [film.folded(*pair) for film, *pair in zip(films, *chunks, strict=True)]
        layers[0] = layers[0][0] * WARP_SCALE, layers[0][1]
        weight, bias = layers.pop()
        directed, weight = weight[:, : len(self.direction)], weight[:, len(self.direction) :]
        layers.append(
            (weight, bias + (self.direction @ directed)[:, None])
        )  # the view direction is the same everywhere
        (*rgb, (last_rgb, _)), (*sigma, (last_sigma, _)) = (
            [weight_and_bias(head) for head in heads] for heads in (self.to_rgb, self.to_sigma)
        )
        joined = [torch.cat([of_rgb, of_sigma]) for (of_rgb, _), (of_sigma, _) in zip(rgb, sigma, strict=True)]
        # The last sigma is read before the colour layer, the last rgb behind it.
        heads = [None, *joined, F.pad(last_sigma, (0, 0, 3, 0)), F.pad(last_rgb, (0, 0, 0, 1))]
        shifts = (torch.stack([weight_and_bias(head)[1] for head in part]) for part in (self.to_rgb, self.to_sigma))
        return StyledRadiance(layers, heads, torch.cat([shift.sum(0) for shift in shifts]))

    def _with_features(self, styled: StyledRadiance) -> StyledRadiance:
        """The same with the feature's entries behind rgb and sigma."""
        pairs = [weight_and_bias(head) for head in self.to_feature]
        first, *others, last = styled.heads
        assert last is not None
        joined = [
            torch.cat([head, weight]) for head, (weight, _) in zip(others, pairs, strict=True) if head is not None
        ]
        shift = torch.cat([styled.shift, torch.stack([bias for _, bias in pairs]).sum(0)])
        padding = (0, 0, 0, len(shift) - len(styled.shift))
        return StyledRadiance(styled.layers, [first, *joined, F.pad(last, padding)], shift)

    def colours(self, points: Tensor, styled: StyledRadiance) -> Tensor:
        """Canonical points [B, N, 3] -> rgb and alpha [B, N, 4] in 0..1."""
        return self._coloured(self._run(points, styled))

    @staticmethod
    def _run(points: Tensor, styled: StyledRadiance) -> Tensor:
        """What the heads add up to [B, N, 4 or more], rounding as the autocast around it allows."""
        return point_network(points, *styled, bf16=torch.is_autocast_enabled(points.device.type))

    @staticmethod
    def _coloured(total: Tensor) -> Tensor:
        alpha = 1 - torch.exp(-OPACITY_SCALE * F.softplus(total[..., 3:4]))
        return torch.cat([torch.sigmoid(total[..., :3]), alpha], -1)

    def forward(self, points: Tensor, style: RadianceStyle) -> RadianceSample:
        """Canonical points [B, N, 3] -> radiance there."""
        total = self._run(points, self._with_features(self.styled(style)))
        colours = self._coloured(total)
        return RadianceSample(colours[..., :3], colours[..., 3], total[..., 4:])
