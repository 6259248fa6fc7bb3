"""A network of sine layers at many points, for what is evaluated in every frame: D^e (paper section 3.1)."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.custom_ops import select
from torch_utils.ops.sine_layers_ref import sine_layers_ref

# The compiled loop keeps a few points' numbers on the stack.
MAX_WIDTH = 256


def sine_layers(points: Tensor, layers: Sequence[tuple[Tensor, Tensor]], *, impl: str = "auto") -> Tensor:
    """sin(x W + b) layer by layer, the last without a sine.

    The compiled sine is within 1e-6 where its argument is below 1e4 in size. On CUDA every implementation is plain
    torch, whose matrix products are cuBLAS's.

    Args:
        points: [N, C] float32.
        layers: at least one weight [C_in, C_out] with its bias [C_out], float32; no width beyond 256.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        [N, C_out of the last layer] float32. No gradients.

    Raises:
        ValueError: shapes, devices, or ``impl`` do not fit.
        TypeError: not float32.
        UserError: ``cpp`` cannot be built here.
    """
    _check(points, layers)
    points, layers = points.detach(), [(weight.detach(), bias.detach()) for weight, bias in layers]
    ops = select(impl, points.device)
    if ops is None or ops.is_cuda:
        return sine_layers_ref(points, layers)
    widths = _widths(points.shape[1], *(len(bias) for _, bias in layers))
    numbers = torch.cat([part.flatten() for layer in layers for part in layer])
    count = len(points)
    result = points.new_empty(count, len(layers[-1][1]))
    ops("sine_layers_float", points.contiguous(), numbers, widths, len(layers), count, result, threads=count)
    return result


@functools.cache
def _widths(*widths: int) -> Tensor:
    return torch.tensor(widths)


def _check(points: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
    if points.ndim != 2 or not 1 <= points.shape[1] <= MAX_WIDTH:
        raise ValueError(f"points: expected shape [N, C] with C from 1 to {MAX_WIDTH}, found {list(points.shape)}")
    if not layers:
        raise ValueError("layers: expected at least one, found none")
    width = points.shape[1]
    for i, (weight, bias) in enumerate(layers):
        if bias.ndim != 1 or not 1 <= len(bias) <= MAX_WIDTH or weight.shape != (width, len(bias)):
            expected = f"weight [{width}, C] and bias [C] with C from 1 to {MAX_WIDTH}"
            raise ValueError(f"layers[{i}]: expected {expected}, found {list(weight.shape)} and {list(bias.shape)}")
        width = len(bias)
    named = {"points": points}
    for i, (weight, bias) in enumerate(layers):
        named |= {f"layers[{i}] weight": weight, f"layers[{i}] bias": bias}
    for name, tensor in named.items():
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected torch.float32, found {tensor.dtype}")
        if tensor.device != points.device:
            raise ValueError(f"{name} and points: expected one device, found {tensor.device}, {points.device}")
