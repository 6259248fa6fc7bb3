"""D^e: from pose-neutral space with an expression to canonical space (paper section 3.1, eq. 6)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from networks.layers import WARP_SCALE, FiLMLayer, MappingNetwork
from torch_utils.device import full_precision
from torch_utils.ops.point_network import point_network

NUM_LAYERS = 3
# The input carries four zeros and the output four unused entries beside position and displacement; the released
# weights have these widths.
POINT_DIM, PADDED_DIM = 3, 7


class ExpressionStyle(NamedTuple):
    frequency: Tensor  # [B, 3 * C]
    phase: Tensor  # [B, 3 * C]


class StyledExpression(NamedTuple):
    """D^e of some people and expressions: what their styles make of its weights, once for all points."""

    layers: list[tuple[Tensor, Tensor]]  # 3 of weight [B, in, C] and bias [B, 1, C]
    heads: list[Tensor | None]  # 3: the last layer's is the output's weight
    shift: Tensor


class ExpressionDeformation(nn.Module):
    """Displacement of a point, given identity and expression; zero at initialisation.

    Args:
        latent_dim: of identity and expression together.
        hidden_dim: width of the sine layers, which every point passes.
        mapping_dim: width of the mapping network, which every expression passes once; ``hidden_dim`` by default.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, mapping_dim: int | None = None):
        super().__init__()
        self.mapping = MappingNetwork(latent_dim, mapping_dim or hidden_dim, 2 * NUM_LAYERS * hidden_dim)
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
    def styled(self, style: ExpressionStyle, entries: int = POINT_DIM) -> StyledExpression:
        """The layers that :meth:`forward` runs, with so many entries of the output; gradients flow to all of it."""
        frequencies, phases = (part.chunk(NUM_LAYERS, -1) for part in style)
        films = [layer for layer in self.layers if isinstance(layer, FiLMLayer)]
        layers = [film.folded(*pair) for film, *pair in zip(films, frequencies, phases, strict=True)]
        weight, bias = layers[0]
        layers[0] = weight[:, :POINT_DIM] * WARP_SCALE, bias
        return StyledExpression(layers, [None, None, self.output.weight[:entries]], self.output.bias[:entries])

    @full_precision()
    def forward(self, points: Tensor, style: ExpressionStyle, *, bf16: bool = False) -> Tensor:
        """Pose-neutral points [B, N, 3] -> displacement [B, N, 3], canonical units; ``bf16``: see point_network."""
        return point_network(points, *self.styled(style), bf16=bf16)
