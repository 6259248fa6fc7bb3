"""3D Gaussian splatting (Kerbl et al. 2023): a picture, its alpha and its depth from ellipsoids of fog.

The rules are those of the published rasteriser, tile by tile and to its thresholds, so that Gaussians trained with it
look here as they do there; gradients are the exact ones. One difference: quaternions are normalised, as every viewer
of splats does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from torch_utils.custom_ops import Ops, select
from torch_utils.ops.splat_ref import TILE, list_tiles, splat_ref

# Channels that the compiled loops blend at a time; more are drawn in several goes.
MAX_CHANNELS = 32

_RECORD, _GRADIENTS = 9, 7  # numbers of a projected Gaussian, and of its gradients without colours, in csrc/splat.h


class Splat(NamedTuple):
    """A picture of Gaussians."""

    image: Tensor  # [H, W, C] over the background
    alpha: Tensor  # [H, W]
    depth: Tensor  # [H, W] sum of weights times Z: divide by alpha for the expected depth


def splat(
    means: Tensor,
    quaternions: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colours: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    background: Tensor | Sequence[float] | float = 0.0,
    *,
    impl: str = "auto",
) -> Splat:
    """Draws Gaussians of given scales and rotations.

    Args:
        means: [N, 3] in the world.
        quaternions: [N, 4] as (w, x, y, z), of any length but 0.
        scales: [N, 3] standard deviations along the rotated axes, in units of the means.

    The rest, results and errors are those of :func:`splat_axes`.
    """
    for name, tensor, width in (("quaternions", quaternions, 4), ("scales", scales, 3)):
        if tensor.shape != (len(means), width):
            raise ValueError(f"{name}: expected shape [{len(means)}, {width}], found {list(tensor.shape)}")
    axes = rotation_matrices(F.normalize(quaternions, dim=-1)) * scales[:, None, :]
    return splat_axes(means, axes, opacities, colours, world_to_camera, intrinsics, size, background, impl=impl)


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """[..., 4] unit quaternions (w, x, y, z) to [..., 3, 3]; others as the published rasteriser reads them."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def splat_axes(
    means: Tensor,
    axes: Tensor,
    opacities: Tensor,
    colours: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    size: tuple[int, int],
    background: Tensor | Sequence[float] | float = 0.0,
    *,
    impl: str = "auto",
) -> Splat:
    """Draws Gaussians of covariance A A^T, A any 3 x 3 matrix: also ellipsoids that skinning has sheared.

    Differentiable (once) in means, axes, opacities, colours and background. On a CPU gradients are the same every time.

    Args:
        means: [N, 3] float32 in the world; float64, too, which plain torch alone draws.
        axes: [N, 3, 3] half axes as columns, one standard deviation long.
        opacities: [N] in 0..1.
        colours: [N, C] any numbers, C >= 1: normals or labels may ride along.
        world_to_camera: [4, 4] or [3, 4], x right, y down, z forward. Means with z <= 0.2 are not drawn.
        intrinsics: [4] fx, fy, cx, cy in pixels; the first pixel's centre is at 0.5.
        size: height, width in pixels.
        background: a number, [C], or [H, W, C].
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Raises:
        ValueError: shapes, devices or ``impl`` do not fit, or there are numbers that are not finite.
        TypeError: not float32, or float64 for a compiled implementation, or types differ.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    named = {"means": means, "axes": axes, "opacities": opacities, "colours": colours}
    named |= {"world_to_camera": world_to_camera, "intrinsics": intrinsics}
    _check(named, size, impl)
    ops = select("ref" if means.dtype == torch.float64 else impl, means.device)
    if ops is None:
        result = splat_ref(means, axes, opacities, colours, world_to_camera, intrinsics, size)
    else:
        camera = torch.cat([world_to_camera[:3, :3].flatten(), world_to_camera[:3, 3], intrinsics]).detach()
        parts = [
            _Splat.apply(means, axes, opacities, part, camera, size, ops) for part in colours.split(MAX_CHANNELS, -1)
        ]
        result = (torch.cat([part[0] for part in parts], -1) if len(parts) > 1 else parts[0][0], *parts[0][1:])
    image, alpha, depth = result
    behind = torch.as_tensor(background, dtype=means.dtype, device=means.device)
    return Splat(image + (1 - alpha)[..., None] * behind, alpha, depth)


def _check(named: dict[str, Tensor], size: tuple[int, int], impl: str) -> None:
    means, colours = named["means"], named["colours"]
    count = len(means) if means.ndim else 0
    shapes = {"means": (count, 3), "axes": (count, 3, 3), "opacities": (count,), "intrinsics": (4,)}
    for name, shape in shapes.items():
        if named[name].shape != shape:
            expected = "[N, 3]" if name == "means" else list(shape)
            raise ValueError(f"{name}: expected shape {expected}, found {list(named[name].shape)}")
    if colours.ndim != 2 or len(colours) != count or colours.shape[1] == 0:
        raise ValueError(f"colours: expected shape [{count}, C] with C >= 1, found {list(colours.shape)}")
    if named["world_to_camera"].shape not in ((4, 4), (3, 4)):
        raise ValueError(f"world_to_camera: expected shape [4, 4], found {list(named['world_to_camera'].shape)}")
    if len(size) != 2 or not all(isinstance(pixels, int) and pixels >= 1 for pixels in size):
        raise ValueError(f"size: expected height and width from 1, found {size}")
    allowed = (torch.float32,) if impl in ("cpp", "cuda") else (torch.float32, torch.float64)
    for name, tensor in named.items():
        if tensor.dtype not in allowed or tensor.dtype != means.dtype:
            raise TypeError(f"{name}: expected {' or '.join(map(str, allowed))}, all alike, found {tensor.dtype}")
        if tensor.device != means.device:
            raise ValueError(f"{name} and means: expected one device, found {tensor.device}, {means.device}")
    # Of a sum, for one wait on a GPU: numbers that are not finite make it so.
    if not torch.stack([tensor.detach().sum() for tensor in named.values()]).isfinite().all():
        wrong = [name for name, tensor in named.items() if not tensor.isfinite().all()]
        raise ValueError(f"{', '.join(wrong)}: expected finite numbers, found others")


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, means: Tensor, axes: Tensor, opacities: Tensor, colours: Tensor, camera: Tensor, size: tuple, ops: Ops
    ) -> tuple[Tensor, Tensor, Tensor]:
        means, axes, opacities, colours = (part.contiguous() for part in (means, axes, opacities, colours))
        count, channels = colours.shape
        height, width = size
        columns, rows = -(-width // TILE), -(-height // TILE)
        records = means.new_empty(count, _RECORD)
        rectangles = means.new_empty(count, 4, dtype=torch.int32)
        areas = means.new_empty(count, dtype=torch.int64)
        ops("splat_project_float", means, axes, opacities, camera, count, width, height, records, rectangles, areas,
            threads=count)  # fmt: skip
        starts, entries = _list(records, rectangles, areas, columns, rows, ops)
        lists = (records, colours, starts, entries, columns * rows, columns, channels)
        picture = means.new_zeros(columns * rows, channels + 2, TILE * TILE)
        ops("splat_draw_float", *lists, picture, threads=len(picture) * TILE * TILE)
        ctx.save_for_backward(means, axes, camera, rectangles, areas, records, colours, starts, entries, picture)
        ctx.size, ctx.ops = size, ops
        whole = _from_tiles(picture, size)
        return whole[..., :channels], whole[..., channels], whole[..., channels + 1]

    @staticmethod
    @once_differentiable
    def backward(ctx, image: Tensor, alpha: Tensor, depth: Tensor) -> tuple[Tensor | None, ...]:
        means, axes, camera, rectangles, areas, records, colours, starts, entries, picture = ctx.saved_tensors
        height, width = ctx.size
        count, channels = colours.shape
        columns = -(-width // TILE)
        grads = _to_tiles(torch.cat([image, alpha[..., None], depth[..., None]], -1))
        first = areas.cumsum(0) - areas
        rows = means.new_zeros(len(entries), _GRADIENTS + channels)
        lists = (records, colours, starts, entries, len(picture), columns, channels)
        ctx.ops("splat_draw_backward_float", *lists, rectangles, first, grads, (grads * picture).sum(1), rows,
                threads=len(picture) * TILE * TILE)  # fmt: skip
        results = [torch.zeros_like(means), torch.zeros_like(axes), means.new_zeros(count), torch.zeros_like(colours)]
        scene = (means, axes, camera, count, width, height, areas, first, rows, channels)
        ctx.ops("splat_project_backward_float", *scene, *results, threads=count)
        return (*results, None, None, None)


def _list(
    records: Tensor, rectangles: Tensor, areas: Tensor, columns: int, rows: int, ops: Ops
) -> tuple[Tensor, Tensor]:
    """As ``list_tiles``, by the compiled loops where there is a CPU's."""
    if ops.is_cuda:
        return list_tiles(records[:, 6], rectangles, columns, rows)
    count = len(areas)
    starts = areas.new_empty(columns * rows + 1)
    entries = areas.new_empty(int(areas.sum()), dtype=torch.int32)
    order = areas.new_empty(count, dtype=torch.int32)
    ops("splat_list_float", records, rectangles, areas, count, columns, rows, order, starts, entries, threads=count)
    return starts, entries


def _from_tiles(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[tiles, C, P] -> [H, W, C], a view of whole tiles side by side."""
    rows, columns = (-(-pixels // TILE) for pixels in size)
    whole = picture.reshape(rows, columns, -1, TILE, TILE).permute(0, 3, 1, 4, 2)
    return whole.reshape(rows * TILE, columns * TILE, -1)[: size[0], : size[1]]


def _to_tiles(picture: Tensor) -> Tensor:
    """[H, W, C] -> [tiles, C, P], 0 beyond the picture."""
    bottom, right = (-pixels % TILE for pixels in picture.shape[:2])
    whole = F.pad(picture, (0, 0, 0, right, 0, bottom))
    tiles = whole.reshape(whole.shape[0] // TILE, TILE, whole.shape[1] // TILE, TILE, -1).permute(0, 2, 4, 1, 3)
    return tiles.reshape(-1, picture.shape[2], TILE * TILE).contiguous()
