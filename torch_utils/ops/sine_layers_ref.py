"""A network of sine layers in plain torch: what the compiled implementation must agree with."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sine_layers_ref(points: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """points [N, C], layers of weight [in, out] and bias [out]; see ``sine_layers``."""
    *hidden, (weight, bias) = layers
    for hidden_weight, hidden_bias in hidden:
        points = torch.addmm(hidden_bias, points, hidden_weight).sin_()
    return torch.addmm(bias, points, weight)
