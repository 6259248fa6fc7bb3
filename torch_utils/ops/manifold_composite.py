"""From crossings to pixels in one pass: lookup in a person's manifold maps, ordering, alpha compositing.

Paper section 3.1 and GRAM-HD: each crossing reads colour and opacity from its manifold's map; the layers are sorted by
distance and composited over white. Nothing between the crossings and the pixels is stored, backward neither.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from torch_utils.custom_ops import Ops, aligned, select
from torch_utils.ops.manifold_composite_ref import TRANSMITTANCE_EPSILON, Composite, composite_manifolds_ref

# A bilinearly upsampled crossing counts where more than this much of it is valid.
MIN_VALIDITY = 0.99
# The compiled loops sort a pixel's layers in a small array.
MAX_LAYERS = 64
# Texels a side of the blocks that `occupied_blocks` marks, as in the compiled loops.
BLOCK = 8

_MAP_TYPES = {torch.float32: "float", torch.float16: "half", torch.bfloat16: "bfloat16", torch.float64: "double"}


def composite_manifolds(
    maps: Tensor,
    coordinates: Tensor,
    depth: Tensor,
    valid: Tensor,
    *,
    order: Tensor | None = None,
    upscale: int = 1,
    occupied: Tensor | None = None,
    impl: str = "auto",
) -> Composite:
    """Looks crossings up in their manifolds' maps and composites them, nearest first, over white.

    T_i = prod_{k<i} (1 - alpha_k + 1e-10), C = sum T_i alpha_i c_i + (1 - sum T_i alpha_i), over the valid crossings.
    Compiled, the forward pass reads no layer behind a transmittance of less than 2^-24 (2^-53 in float64): together
    these could change no result by more than that. The backward pass reads them all, for where a layer is opaque, its
    gradient is that of what it hides.

    Differentiable (once) in the maps; without upscaling in coordinates and depth as well. On CUDA the maps' gradient is
    added up in no fixed order; on a CPU it is the same every time.

    Args:
        maps: [B, K, h, w, 4] RGBA in 0..1, float16, bfloat16, float32 or float64, row 0 = lowest y. K <= 64.
        coordinates: [B, H, W, K, 2] crossings' (x, y) in the maps, -1..1 between the outer pixels' edges; beyond them
            the border is repeated, and NaN is -1.
        depth: [B, H, W, K] along the ray, canonical units.
        valid: [B, H, W, K] bool, or numbers from 0 to 1: valid above MIN_VALIDITY.
        order: [B, H, W, K] what to sort by where that is not the depth; equal layers keep their order, NaN is last.
        upscale: pixels a ray, each way. All of a pixel's crossings (validity too) are interpolated bilinearly between
            rays, the image's corner pixels lying on the corner rays.
        occupied: of these maps, from :func:`occupied_blocks`: compiled, nothing is read where a map is transparent.
            The result is the same. Not for maps that need gradients: transparent texels have one, too.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        rgb [B, H', W', 3], alpha and depth [B, H', W'] with H' = H * upscale; float64 if an input is, else float32.

    Raises:
        ValueError: shapes, devices, ``upscale`` or ``impl`` do not fit; crossings that need gradients are upscaled, or
            maps that need them have ``occupied``.
        TypeError: maps, coordinates, depth or order are not floating-point numbers, or ``occupied`` is not uint8.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    _check(maps, coordinates, depth, valid, order, upscale)
    if occupied is not None:
        _check_occupied(occupied, maps)
    parts = [coordinates[..., 0], coordinates[..., 1], depth, valid] + ([] if order is None else [order])
    dtype = torch.float64 if torch.float64 in [part.dtype for part in (maps, *parts)] else torch.float32
    layers = torch.stack([part.to(dtype) for part in parts], 3)  # [B, H, W, C, K]
    if upscale > 1 and layers.requires_grad:
        raise ValueError("composite_manifolds: crossings that need gradients cannot be upscaled; detach them")
    maps = maps.double() if dtype == torch.float64 else maps
    ops = select(impl, maps.device)
    if ops is None:
        return composite_manifolds_ref(maps, layers, upscale, MIN_VALIDITY)
    return Composite(*_CompositeManifolds.apply(maps, layers, upscale, occupied, ops))


def occupied_blocks(maps: Tensor) -> Tensor:
    """Where maps [B, K, h, w, 4] may be seen, for :func:`composite_manifolds`: [B, K, h / BLOCK, w / BLOCK] uint8.

    A block, BLOCK texels a side, is marked if a bilinear fetch whose lowest texel is in it may find any opacity.
    """
    alpha = maps[..., 3].flatten(0, 1)[:, None].float()  # [BK, 1, h, w]
    height, width = (-(-size // BLOCK) * BLOCK + 1 for size in alpha.shape[2:])
    alpha = F.pad((alpha != 0).float(), (0, width - alpha.shape[3], 0, height - alpha.shape[2]))
    marks = F.max_pool2d(alpha, BLOCK + 1, stride=BLOCK)
    return marks.to(torch.uint8).squeeze(1).unflatten(0, maps.shape[:2])


def _check(maps: Tensor, coordinates: Tensor, depth: Tensor, valid: Tensor, order: Tensor | None, upscale: int) -> None:
    if maps.ndim != 5 or maps.shape[-1] != 4 or 0 in maps.shape[1:] or maps.shape[1] > MAX_LAYERS:
        expected = f"[B, K, h, w, 4], K from 1 to {MAX_LAYERS}"
        raise ValueError(f"maps: expected shape {expected}, found {list(maps.shape)}")
    batch, count = maps.shape[:2]
    if coordinates.ndim != 5 or coordinates.shape[0] != batch or coordinates.shape[3:] != (count, 2):
        raise ValueError(
            f"coordinates: expected shape [{batch}, H, W, {count}, 2] for these maps, found {list(coordinates.shape)}"
        )
    if isinstance(upscale, bool) or not isinstance(upscale, int) or upscale < 1:
        raise ValueError(f"upscale: expected a whole number from 1, found {upscale}")
    if upscale > 1 and 0 in coordinates.shape:
        raise ValueError(f"coordinates: expected at least one ray to upscale, found shape {list(coordinates.shape)}")
    named = {"maps": maps, "coordinates": coordinates, "depth": depth, "valid": valid, "order": order}
    for name, tensor in named.items():
        if tensor is None:
            continue
        if name in ("depth", "valid", "order") and tensor.shape != coordinates.shape[:-1]:
            raise ValueError(
                f"{name}: expected shape {list(coordinates.shape[:-1])} as coordinates, found {list(tensor.shape)}"
            )
        if not (tensor.is_floating_point() or (name == "valid" and tensor.dtype == torch.bool)):
            raise TypeError(f"{name}: expected floating-point numbers, found {tensor.dtype}")
        if tensor.device != maps.device:
            raise ValueError(f"{name} and maps: expected one device, found {tensor.device}, {maps.device}")
    if maps.dtype not in _MAP_TYPES:
        raise TypeError(f"maps: expected {', '.join(map(str, _MAP_TYPES))}, found {maps.dtype}")


def _check_occupied(occupied: Tensor, maps: Tensor) -> None:
    expected = [*maps.shape[:2], *(-(-size // BLOCK) for size in maps.shape[2:4])]
    if list(occupied.shape) != expected:
        raise ValueError(f"occupied: expected shape {expected} for these maps, found {list(occupied.shape)}")
    if occupied.dtype != torch.uint8:
        raise TypeError(f"occupied: expected torch.uint8, found {occupied.dtype}")
    if occupied.device != maps.device:
        raise ValueError(f"occupied and maps: expected one device, found {occupied.device}, {maps.device}")
    if maps.requires_grad:
        raise ValueError("composite_manifolds: maps that need gradients have no occupied blocks; leave `occupied` out")


class _CompositeManifolds(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, maps: Tensor, layers: Tensor, upscale: int, occupied: Tensor | None, ops: Ops
    ) -> tuple[Tensor, Tensor, Tensor]:
        maps, layers = aligned(maps), layers.contiguous()
        occupied = None if occupied is None else occupied.contiguous()
        batch, height, width, channels, count = layers.shape
        shape = (batch, height * upscale, width * upscale)
        rgb, alpha, depth = layers.new_empty(*shape, 3), layers.new_empty(shape), layers.new_empty(shape)
        sizes = (batch, count, *maps.shape[2:4], height, width, channels, upscale)
        ctx.sizes = (*sizes, MIN_VALIDITY, TRANSMITTANCE_EPSILON)
        name = f"composite_manifolds_{_MAP_TYPES[maps.dtype]}"
        ops(name, maps, layers, *ctx.sizes, occupied, rgb, alpha, depth, threads=alpha.numel())
        ctx.save_for_backward(maps, layers)
        ctx.ops = ops
        return rgb, alpha, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        maps, layers = ctx.saved_tensors
        pixels = grads[1][0].numel() if len(layers) else 0
        grad_fetched = layers.new_zeros(*maps.shape[:2], pixels, 4)
        grad_layers = torch.zeros_like(layers) if ctx.needs_input_grad[1] else None
        kind, scene = _MAP_TYPES[maps.dtype], (maps, layers, *ctx.sizes, None)
        name, pictures = f"composite_manifolds_backward_{kind}", [grad.contiguous() for grad in grads]
        ctx.ops(name, *scene, *pictures, grad_fetched, grad_layers, threads=pictures[1].numel())
        if not ctx.needs_input_grad[0]:
            return None, grad_layers, None, None, None
        grad_maps = torch.zeros_like(maps, dtype=layers.dtype)
        ctx.ops(f"scatter_to_manifolds_{kind}", *scene, grad_fetched, grad_maps, threads=grad_fetched.numel() // 4)
        return grad_maps.to(maps.dtype), grad_layers, None, None, None
