"""D^e: from pose-neutral space with an expression to canonical space (paper section 3.1, eq. 6)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from networks.layers import FiLMLayer, MappingNetwork, warp
from torch_utils.device import full_precision

NUM_LAYERS = 3
# The input carries four zeros and the output four unused entries beside position and displacement; the released
# weights have these widths.
POINT_DIM, PADDED_DIM = 3, 7


class ExpressionStyle(NamedTuple):
    frequency: Tensor  # [B, 3 * C]
    phase: Tensor  # [B, 3 * C]


class ExpressionDeformation(nn.Module):
    """Displacement of a point, given identity and expression; zero at initialisation."""

    def __init__(self, latent_dim: int, hidden_dim: int):
        super().__init__()
        self.mapping = MappingNetwork(latent_dim, hidden_dim, 2 * NUM_LAYERS * hidden_dim)
        self.layers = nn.ModuleList(
            FiLMLayer(hidden_dim if i else PADDED_DIM, hidden_dim, first=i == 0) for i in range(NUM_LAYERS)
        )
        self.output = nn.Linear(hidden_dim, PADDED_DIM)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @full_precision()
    def style(self, z_id: Tensor, z_exp: Tensor) -> ExpressionStyle:
        """z_id [B, 80], z_exp [B, 64]."""
        return ExpressionStyle(*self.mapping(torch.cat([z_id, z_exp], -1)).chunk(2, -1))

    @full_precision()
    def forward(self, points: Tensor, style: ExpressionStyle) -> Tensor:
        """Pose-neutral points [B, N, 3] -> displacement [B, N, 3], canonical units."""
        x = torch.nn.functional.pad(warp(points), (0, PADDED_DIM - POINT_DIM))
        frequencies, phases = style.frequency.chunk(NUM_LAYERS, -1), style.phase.chunk(NUM_LAYERS, -1)
        for layer, frequency, phase in zip(self.layers, frequencies, phases, strict=True):
            x = layer(x, frequency, phase)
        return nn.functional.linear(x, self.output.weight[:POINT_DIM], self.output.bias[:POINT_DIM])
