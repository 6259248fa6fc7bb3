"""Where rays cross the radiance manifolds: one pass over each ray's samples for all levels, forward and backward.

The rule is GRAM's and the paper's (section 3.1): along a ray, from near to far, a level is crossed where s falls
through it; the first such interval counts, and s is interpolated linearly within it.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from torch_utils.custom_ops import Ops, select
from torch_utils.ops.ray_manifold_ref import find_crossings_ref, interpolate_ref

# Where s hardly changes over an interval the interpolation is ill-conditioned; its far end is taken.
MIN_SCALAR_STEP = 0.05
# The compiled search keeps track of the levels found in one machine word.
MAX_LEVELS = 64


class Crossings(NamedTuple):
    """Where rays cross the levels: between samples ``index`` and ``index + 1``, at fraction ``weight``."""

    index: Tensor  # type: ignore[assignment]  # [..., K] int64; hides tuple.index
    weight: Tensor  # [..., K]
    valid: Tensor  # [..., K] bool

    def interpolate(self, values: Tensor, *, impl: str = "auto") -> Tensor:
        """Values at the samples, carried to the crossings: near + (far - near) * weight.

        Differentiable in the values and, through the weight, in s. Positions, displacements and their sum are all
        values. An index beyond the samples means the last interval.

        Args:
            values: [..., S, C], S >= 2.
            impl: as in :func:`find_crossings`.

        Returns:
            [..., K, C], in the wider type of values and weight (at least float32).

        Raises:
            ValueError, TypeError, UserError: as :func:`find_crossings`.
        """
        if values.ndim < 2 or values.shape[:-2] != self.index.shape[:-1] or values.shape[-2] < 2:
            expected = f"[{', '.join(map(str, self.index.shape[:-1]))}, S, C] with S >= 2"
            raise ValueError(f"values: expected shape {expected}, found {list(values.shape)}")
        _check(values, "values")
        if self.index.dtype != torch.int64 or self.index.shape != self.weight.shape:
            found = f"{self.index.dtype} {list(self.index.shape)} and {list(self.weight.shape)}"
            raise ValueError(f"crossings: expected int64 index and weight of one shape, found {found}")
        for part in (self.index, self.weight):
            _check_device(values, part, "values", "crossings")
        dtype = torch.promote_types(torch.promote_types(values.dtype, self.weight.dtype), torch.float32)
        rays, count = self.index.shape[:-1].numel(), self.index.shape[-1]
        flat = (
            values.to(dtype).reshape(rays, *values.shape[-2:]),
            self.index.reshape(rays, count),
            self.weight.to(dtype).reshape(rays, count),
        )
        ops = select(impl, values.device)
        result = interpolate_ref(*flat) if ops is None else _Interpolate.apply(*flat, ops)
        return result.reshape(*self.index.shape, values.shape[-1])


def find_crossings(s: Tensor, levels: Tensor, *, either_direction: bool = False, impl: str = "auto") -> Crossings:
    """First crossing of every level along every ray.

    Level l is crossed in [i, i+1] when s_i >= l >= s_{i+1}: s falls towards the centre. Without a crossing the last
    sample stands in, marked invalid. An interval that a NaN bounds crosses nothing. Differentiable in s (once), where
    it changes by more than MIN_SCALAR_STEP; not in the levels.

    Time is O(S + levels passed) a ray, O(S + K) where s is monotone.

    Args:
        s: [..., S] from near to far, S >= 2. Types narrower than float32 are computed in float32.
        levels: [K] in any order, K <= 64.
        either_direction: take the first crossing in either direction, valid only if s falls there (the rule of the
            orthographic view, where a ray may start inside).
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Raises:
        ValueError: shapes, devices, or ``impl`` do not fit.
        TypeError: not floating-point numbers.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    if s.ndim < 1 or s.shape[-1] < 2:
        raise ValueError(f"s: expected shape [..., S] with at least 2 samples, found {list(s.shape)}")
    if levels.ndim != 1 or not 1 <= len(levels) <= MAX_LEVELS:
        raise ValueError(f"levels: expected shape [K] with K from 1 to {MAX_LEVELS}, found {list(levels.shape)}")
    _check(s, "s")
    _check(levels, "levels")
    _check_device(s, levels, "s", "levels")
    dtype = torch.promote_types(s.dtype, torch.float32)
    rays, levels = s.to(dtype).reshape(s.shape[:-1].numel(), s.shape[-1]), levels.detach().to(dtype)
    ops = select(impl, s.device)
    if ops is None:
        found = find_crossings_ref(rays, levels, either_direction=either_direction, min_step=MIN_SCALAR_STEP)
    else:
        found = _FindCrossings.apply(rays, levels, either_direction, ops)
    return Crossings(*(part.reshape(*s.shape[:-1], len(levels)) for part in found))


def _check(tensor: Tensor, name: str) -> None:
    if not tensor.is_floating_point():
        raise TypeError(f"{name}: expected floating-point numbers, found {tensor.dtype}")


def _check_device(first: Tensor, second: Tensor, first_name: str, second_name: str) -> None:
    if first.device != second.device:
        raise ValueError(f"{first_name} and {second_name}: expected one device, found {first.device}, {second.device}")


def _function(name: str, dtype: torch.dtype) -> str:
    return f"{name}_{'double' if dtype == torch.float64 else 'float'}"


def search(
    ops: Ops, s: Tensor, falling: Tensor, slot: Tensor | None, either_direction: bool, min_step: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The compiled search, all contiguous: s [N, S], falling levels [K], NaN last -> index, weight, valid [N, K].

    ``slot`` [K] says which level's results each falling one has; if None, its own. No gradients.
    """
    shape = (len(s), len(falling))
    index, weight = s.new_empty(shape, dtype=torch.int64), s.new_empty(shape)
    valid = s.new_empty(shape, dtype=torch.bool)
    sizes = (len(s), s.shape[1], len(falling), either_direction, float(min_step))
    ops(_function("find_crossings", s.dtype), s, falling, slot, *sizes, index, weight, valid, threads=len(s))
    return index, weight, valid


class _FindCrossings(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s: Tensor, levels: Tensor, either: bool, ops: Ops) -> tuple[Tensor, Tensor, Tensor]:
        s, levels = s.contiguous(), levels.contiguous()
        rising, slot = (-levels).sort()  # NaN last
        index, weight, valid = search(ops, s, -rising, slot, either, MIN_SCALAR_STEP)
        ctx.mark_non_differentiable(index, valid)
        ctx.save_for_backward(s, levels, index, weight)
        ctx.sizes, ctx.ops = (len(s), s.shape[1], len(levels), either, MIN_SCALAR_STEP), ops
        return index, weight, valid

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_index: None, grad_weight: Tensor, grad_valid: None) -> tuple[Tensor, None, None, None]:
        s, levels, index, weight = ctx.saved_tensors
        grad_s = torch.zeros_like(s)
        name = _function("find_crossings_backward", s.dtype)
        ctx.ops(name, s, levels, index, weight, grad_weight.contiguous(), *ctx.sizes, grad_s, threads=len(s))
        return grad_s, None, None, None


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, index: Tensor, weight: Tensor, ops: Ops) -> Tensor:
        values, index, weight = values.contiguous(), index.contiguous(), weight.contiguous()
        result = values.new_empty(*index.shape, values.shape[-1])
        sizes = (len(values), values.shape[1], index.shape[1], values.shape[2])
        ops(_function("interpolate", values.dtype), values, index, weight, *sizes, result, threads=len(values))
        ctx.save_for_backward(values, index, weight)
        ctx.sizes, ctx.ops = sizes, ops
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        values, index, weight = ctx.saved_tensors
        grad_values = torch.zeros_like(values) if ctx.needs_input_grad[0] else None
        grad_weight = torch.empty_like(weight) if ctx.needs_input_grad[2] else None
        name, arrays = _function("interpolate_backward", values.dtype), (values, index, weight, grad.contiguous())
        ctx.ops(name, *arrays, *ctx.sizes, grad_values, grad_weight, threads=len(values))
        return grad_values, None, grad_weight, None
