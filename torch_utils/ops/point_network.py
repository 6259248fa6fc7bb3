"""A small network at many points, forward and backward in one pass each: phi, D^e and M (paper section 3.1)."""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torch_utils.custom_ops import Ops, select
from torch_utils.native.cache import BuildError
from torch_utils.ops.point_network_ref import point_network_ref

Layer = tuple[Tensor, Tensor]
Activation = Literal["sine", "relu"]

# The compiled loop keeps a block's numbers on the stack; wider networks are plain torch.
MAX_WIDTH, MAX_OUTPUTS = 256, 64
MULTIPLE = 16  # widths are padded to multiples of it
# Gradients of weights are summed in so many parts, or fewer of at least so many points each, whatever the threads.
SLICES, SLICE_POINTS = 32, 1024


def point_network(
    points: Tensor,
    layers: Sequence[Layer],
    heads: Sequence[Tensor | None],
    shift: Tensor,
    *,
    activation: Activation = "sine",
    bf16: bool = False,
    impl: str = "auto",
) -> Tensor:
    """The sum of linear readouts of all layers: x_0 = points, x_i = act(x_{i-1} W_i + b_i), shift + sum_i x_i H_i^T.

    Differentiable (once) in everything. The compiled one keeps its inputs for the backward pass and nothing else: there
    a block of points is computed again, and points whose gradient is zero are left out. Its sines are within 1e-6 where
    their argument is below 1e4 in size. On CUDA every implementation is plain torch, whose matrix products are
    cuBLAS's.

    Args:
        points: [B, N, I] float32.
        layers: at least one weight [B or 1, I or C, C] with its bias [B or 1, 1, C], all as wide.
        heads: of every layer, [O, C] or None.
        shift: [O].
        activation: ``sine`` or ``relu``.
        bf16: products of all layers but the first may round their factors to bfloat16 (sums stay float32): they do
            where the processor has AVX512-BF16, and with plain torch as its autocast has it.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built and the
            network is no wider than MAX_WIDTH with MAX_OUTPUTS.

    Returns:
        [B, N, O] float32; in plain torch any floating-point type.

    Raises:
        ValueError: shapes, devices, ``activation`` or ``impl`` do not fit.
        TypeError: ``cpp`` was asked for and there is something else than float32.
        UserError: ``cpp`` cannot be built here.
    """
    _check(points, layers, heads, shift, activation)
    ops = select(impl, points.device)
    if ops is not None and not ops.is_cuda and impl == "auto" and not _fits(points, layers, shift):
        ops = None
    if ops is None or ops.is_cuda:
        return point_network_ref(points, layers, heads, shift, activation, bf16)
    _check_compiled(points, layers, heads, shift)
    padding = -layers[0][1].shape[-1] % MULTIPLE
    padded = [(_pad(weight, i > 0, padding), _pad(bias, False, padding)) for i, (weight, bias) in enumerate(layers)]
    people = max(len(part) for layer in padded for part in layer)
    weights, biases = ([part.expand(people, -1, -1) for part in parts] for parts in zip(*padded, strict=True))
    width = weights[0].shape[-1]
    inner = torch.stack(weights[1:], 1) if len(weights) > 1 else points.new_empty(people, 0, width, width)
    headed = tuple(head is not None for head in heads)
    readouts = [points.new_zeros(len(shift), width) if head is None else _pad(head, False, padding) for head in heads]
    half = bf16 and activation == "sine" and _facts().bf16
    how = _How(ops, f"point_network_{activation}_{'bf16' if half else 'float'}", half, headed)
    return _PointNetwork.apply(points, weights[0], inner, torch.cat(biases, 1), torch.stack(readouts), shift, how)


def cpu_is_compiled() -> bool:
    """Whether the compiled op can be built here: it keeps nothing of a forward pass."""
    try:
        return bool(_facts())
    except BuildError:
        return False


def cpu_has_bf16() -> bool:
    """Whether it can, and this processor multiplies in bfloat16."""
    return cpu_is_compiled() and _facts().bf16


class _Facts(NamedTuple):
    bf16: bool  # whether the processor has products of bfloat16
    block: int  # points that are computed at a time


class _How(NamedTuple):
    ops: Ops
    name: str
    bf16: bool
    headed: tuple[bool, ...]  # which layers have a readout


@functools.cache
def _facts() -> _Facts:
    found = torch.zeros(2, dtype=torch.int64)
    Ops(torch.device("cpu"))("point_network_facts", found, threads=1)
    return _Facts(bool(found[0]), int(found[1]))


@functools.cache
def _flags(headed: tuple[bool, ...]) -> Tensor:
    return torch.tensor(headed, dtype=torch.int64)


def _pad(tensor: Tensor, rows: bool, padding: int) -> Tensor:
    return torch.nn.functional.pad(tensor, (0, padding, 0, padding if rows else 0)) if padding else tensor


def _words(weights: Tensor, bf16: bool) -> Tensor:
    """Weights [.., in, out] as products read them: one number a word, or two neighbours of ``in``."""
    return (weights.bfloat16().unflatten(-2, (-1, 2)).transpose(-1, -2) if bf16 else weights).contiguous()


class _PointNetwork(torch.autograd.Function):
    """Padded: points [B, N, I], first [W, I, C], weights [W, L - 1, C, C], biases [W, L, C], heads [L, O, C]."""

    @staticmethod
    def forward(
        ctx, points: Tensor, first: Tensor, weights: Tensor, biases: Tensor, heads: Tensor, shift: Tensor, how: _How
    ) -> Tensor:
        points, first, biases, heads = (part.contiguous() for part in (points, first, biases, heads))
        (batch, count, inputs), (layers, outputs, width) = points.shape, heads.shape
        ctx.how, ctx.sizes = how, (batch, count, inputs, width, layers, outputs, len(first))
        ctx.save_for_backward(points, first, weights, biases, heads)
        arrays = (points, first, _words(weights, how.bf16), biases, heads, _flags(how.headed))
        result = points.new_empty(batch, count, outputs)
        how.ops(how.name, *arrays, *ctx.sizes, shift.contiguous(), result, threads=batch * count)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        points, first, weights, biases, heads = ctx.saved_tensors
        how, (batch, count, inputs, width, layers, outputs, people) = ctx.how, ctx.sizes
        gradient = gradient.contiguous()
        slices = max(1, min(count // SLICE_POINTS, -(-SLICES // batch)))
        rows = batch * slices
        scratch = (2 * layers + 2) * width + inputs + outputs  # numbers a point
        to_points = torch.zeros_like(points) if ctx.needs_input_grad[0] else None
        sums = None
        if any(ctx.needs_input_grad[1:5]):
            sums = [points.new_zeros(rows, *part.shape[1:]) for part in (first, weights, biases)]
            sums.append(points.new_zeros(rows, *heads.shape))
        arrays = (points, first, _words(weights, how.bf16), biases, heads, _flags(how.headed))
        how.ops(
            f"{how.name}_backward", *arrays, *ctx.sizes, _words(weights.transpose(-1, -2), how.bf16), gradient, slices,
            points.new_empty(rows, scratch * _facts().block), to_points, *(sums or [None] * 4),
            threads=batch * count,
        )  # fmt: skip
        to_shift = gradient.sum((0, 1)) if ctx.needs_input_grad[5] else None
        if sums is None:
            return to_points, None, None, None, None, to_shift, None
        *to_layers, to_heads = sums
        summed = [part.unflatten(0, (people, -1)).sum(1) for part in to_layers]
        return to_points, *summed, to_heads.sum(0), to_shift, None


def _check(
    points: Tensor, layers: Sequence[Layer], heads: Sequence[Tensor | None], shift: Tensor, activation: str
) -> None:
    if activation not in ("sine", "relu"):
        raise ValueError(f"activation: expected sine or relu, found '{activation}'")
    if points.ndim != 3:
        raise ValueError(f"points: expected shape [B, N, I], found {list(points.shape)}")
    if not layers or len(heads) != len(layers):
        raise ValueError(f"layers and heads: expected as many, at least one, found {len(layers)} and {len(heads)}")
    batch, width = len(points), layers[0][0].shape[-1]
    for i, (weight, bias) in enumerate(layers):
        rows = width if i else points.shape[2]
        if weight.shape not in ((batch, rows, width), (1, rows, width)) or bias.shape not in (
            (batch, 1, width),
            (1, 1, width),
        ):
            expected = f"weight [{batch}, {rows}, {width}] and bias [{batch}, 1, {width}], or 1 for {batch}"
            raise ValueError(f"layers[{i}]: expected {expected}, found {list(weight.shape)} and {list(bias.shape)}")
    if shift.ndim != 1:
        raise ValueError(f"shift: expected shape [O], found {list(shift.shape)}")
    for i, head in enumerate(heads):
        if head is not None and head.shape != (len(shift), width):
            raise ValueError(f"heads[{i}]: expected shape [{len(shift)}, {width}], found {list(head.shape)}")
    for name, tensor in _named(points, layers, heads, shift):
        if tensor.device != points.device:
            raise ValueError(f"{name} and points: expected one device, found {tensor.device}, {points.device}")


def _named(
    points: Tensor, layers: Sequence[Layer], heads: Sequence[Tensor | None], shift: Tensor
) -> list[tuple[str, Tensor]]:
    named = [("points", points), ("shift", shift)]
    for i, (weight, bias) in enumerate(layers):
        named += [(f"layers[{i}] weight", weight), (f"layers[{i}] bias", bias)]
    return named + [(f"heads[{i}]", head) for i, head in enumerate(heads) if head is not None]


def _fits(points: Tensor, layers: Sequence[Layer], shift: Tensor) -> bool:
    """Whether the compiled network takes it."""
    width = max(points.shape[2], layers[0][1].shape[-1])
    return points.dtype == torch.float32 and width <= MAX_WIDTH and len(shift) <= MAX_OUTPUTS


def _check_compiled(points: Tensor, layers: Sequence[Layer], heads: Sequence[Tensor | None], shift: Tensor) -> None:
    for name, tensor in _named(points, layers, heads, shift):
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected torch.float32, found {tensor.dtype}")
    if not _fits(points, layers, shift):
        found = f"{points.shape[2]}, {layers[0][1].shape[-1]} and {len(shift)}"
        raise ValueError(f"inputs, width, outputs: expected at most {MAX_WIDTH}, as many, {MAX_OUTPUTS}, found {found}")
