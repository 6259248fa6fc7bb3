"""A small network at many points in plain torch: what the compiled implementation must agree with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.device import full_precision


def point_network_ref(
    points: Tensor,
    layers: Sequence[tuple[Tensor, Tensor]],
    heads: Sequence[Tensor | None],
    shift: Tensor,
    activation: str,
    bf16: bool,
) -> Tensor:
    """Arguments as of ``point_network``; any type of floating-point numbers."""
    x, total = points, shift if bf16 else None  # sums are as wide as the shift
    for i, ((weight, bias), head) in enumerate(zip(layers, heads, strict=True)):
        # Arguments of the first sines are up to 60: bfloat16 would round them by 1/8, TF32 by 1/32.
        with torch.autocast(points.device.type, torch.bfloat16, enabled=bf16) if i else full_precision():
            x = act(_product(x, weight, bias), activation)
            if head is not None:
                here = torch.nn.functional.linear(x, head, shift if total is None else None)
                total = here if total is None else total + here
    return shift.expand(*points.shape[:2], -1) if total is None else total


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if len(x) == 1:  # cuBLAS adds the bias by itself
        return torch.addmm(bias[0, 0], x[0], weight[0])[None]
    return torch.baddbmm(bias, x, weight.expand(len(x), -1, -1))


def act(product: Tensor, activation: str) -> Tensor:
    """In place where no gradient asks for the product."""
    inplace = not product.requires_grad
    if activation == "relu":
        return torch.nn.functional.relu(product, inplace=inplace)
    return product.sin_() if inplace else product.sin()
