"""A frame's crossings: inverse skinning, D^e and M, all from their grids, and the crossing search, in one pass.

Paper section 3.1, with the fields of a frame interpolated: see inference/fast/renderer.py, which makes the grids.
"""

import torch
from torch import Tensor

from torch_utils.custom_ops import Ops, aligned, select
from torch_utils.ops.march_rays_ref import BoxGrid, RayCrossings, Sampling, march_rays_ref
from torch_utils.ops.ray_manifold import search

# The compiled search keeps track of the levels found in one machine word.
MAX_LEVELS = 64


def march_rays(
    origins: Tensor, directions: Tensor, transforms: Tensor, displacement: BoxGrid, field: BoxGrid, levels: Tensor,
    sampling: Sampling, *, impl: str = "auto",
) -> RayCrossings:  # fmt: skip
    """First crossing of every level along every ray of an image, by the rule of ``find_crossings``.

    A ray's samples are carried to neutral pose, displaced, and interpolated linearly to the fine samples, on which s is
    looked up. In C++, every fourth fine sample is looked at, and those between two of them, by halves, only where a
    level lies between: a crossing and its return between two would go unseen. What no ray meets is not computed. On a
    GPU there are threads for all samples at once.

    Args:
        origins, directions: [H, W, 3] float32, posed space; directions of unit length.
        transforms: [H', W', S', 16] float32, posed -> neutral (rows of 4 x 4) at every ``sampling.stride``-th pixel and
            sample; between them interpolated. There are nodes at or beyond the last pixels and samples.
        displacement: D^e of neutral points, C = 4, the last number unused; float32.
        field: s of canonical points, C = 1; float32.
        levels: [K] falling, K <= 64; float32.
        sampling: see :class:`Sampling`.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        crossings of the rays in row-major order, R = H * W; where there is none, the last sample, not valid. No
        gradients.

    Raises:
        ValueError: shapes, devices, ``sampling`` or ``impl`` do not fit.
        TypeError: not float32.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    tensors = {
        "origins": origins, "directions": directions, "transforms": transforms, "levels": levels,
        "displacement": displacement.values, "displacement.box": displacement.box,
        "field": field.values, "field.box": field.box,
    }  # fmt: skip
    _check(tensors, sampling)
    tensors = {name: aligned(tensor.detach()) for name, tensor in tensors.items()}
    ops = select(impl, directions.device)
    if ops is None:
        return march_rays_ref(origins, directions, transforms, displacement, field, levels, sampling)
    return (_march_on_cuda if ops.is_cuda else _march_on_cpu)(ops, tensors, sampling)


def _march_on_cpu(ops: Ops, tensors: dict[str, Tensor], sampling: Sampling) -> RayCrossings:
    rays, count = tensors["directions"].shape[:2].numel(), len(tensors["levels"])
    found = _empty_crossings(tensors, rays, count)
    fine, min_step = sampling.num_fine_samples, float(sampling.min_step)
    field = (tensors["field"], tensors["field.box"], *tensors["field"].shape[:3])
    deformation = _deformation(tensors, sampling, rays)
    ops("march_rays_float", *deformation, *field, tensors["levels"], fine, count, min_step, *found, threads=rays)
    return found


def _march_on_cuda(ops: Ops, tensors: dict[str, Tensor], sampling: Sampling) -> RayCrossings:
    """A thread for each sample, then for each fine sample, then for each ray, then for each crossing."""
    rays, count = tensors["directions"].shape[:2].numel(), len(tensors["levels"])
    samples, fine = sampling.num_samples, sampling.num_fine_samples
    searched = looked_up = tensors["directions"].new_empty(rays, samples, 3)
    one_scale = sampling.search_scale == sampling.lookup_scale
    if not one_scale:
        looked_up = torch.empty_like(searched)
    deformation = _deformation(tensors, sampling, rays)
    ops("carry_samples_float", *deformation, searched, None if one_scale else looked_up, threads=rays * samples)
    s = searched.new_empty(rays, fine)
    field = (tensors["field"], tensors["field.box"], *tensors["field"].shape[:3])
    ops("fine_scalars_float", searched, *field, rays, samples, fine, s, threads=rays * fine)
    crossings = search(ops, s, tensors["levels"], None, False, sampling.min_step)
    found = _empty_crossings(tensors, rays, count)
    sizes, ends = (rays, samples, fine, count), (float(sampling.near), float(sampling.far))
    ops("at_crossings_float", looked_up, *crossings, *sizes, *ends, *found, threads=rays * count)
    return found


def _empty_crossings(tensors: dict[str, Tensor], rays: int, count: int) -> RayCrossings:
    empty = tensors["directions"].new_empty
    return RayCrossings(empty(rays, count, 3), empty(rays, count), empty(rays, count))


def _deformation(tensors: dict[str, Tensor], sampling: Sampling, rays: int) -> tuple[Tensor | int | float, ...]:
    """DEFORMATION_PARAMETERS of csrc/march_rays.h."""
    arrays = [tensors[name] for name in ("origins", "directions", "transforms", "displacement", "displacement.box")]
    width, node_columns, node_samples = tensors["directions"].shape[1], *tensors["transforms"].shape[1:3]
    sizes = (*tensors["displacement"].shape[:3], width, node_columns, node_samples, sampling.stride, rays)
    numbers = (sampling.near, sampling.far, sampling.search_scale, sampling.lookup_scale)
    return (*arrays, *sizes, sampling.num_samples, *map(float, numbers))


def _check(tensors: dict[str, Tensor], sampling: Sampling) -> None:
    directions = tensors["directions"]
    if directions.ndim != 3 or directions.shape[-1] != 3 or 0 in directions.shape:
        raise ValueError(f"directions: expected shape [H, W, 3], found {list(directions.shape)}")
    if tensors["origins"].shape != directions.shape:
        raise ValueError(f"origins: expected shape {list(directions.shape)}, found {list(tensors['origins'].shape)}")
    if sampling.stride < 1 or sampling.num_samples < 2 or sampling.num_fine_samples < sampling.num_samples:
        raise ValueError(f"sampling: expected stride >= 1, 2 <= num_samples <= num_fine_samples, found {sampling}")
    sizes = (*directions.shape[:2], sampling.num_samples)
    nodes = tuple(-(-(size - 1) // sampling.stride) + 1 for size in sizes)
    found = tensors["transforms"].shape
    if len(found) != 4 or found[3] != 16 or any(f < n for f, n in zip(found, nodes, strict=False)):
        raise ValueError(f"transforms: expected shape {[*nodes, 16]} or more nodes, found {list(found)}")
    for name, channels in (("displacement", 4), ("field", 1)):
        shape, box = tensors[name].shape, tensors[f"{name}.box"].shape
        if len(shape) != 4 or shape[3] != channels or min(shape[:3]) < 2 or box != (6,):
            expected = f"values [Z, Y, X, {channels}] with two nodes at least along each axis and box [6]"
            raise ValueError(f"{name}: expected {expected}, found {list(shape)} and {list(box)}")
    levels = tensors["levels"].shape
    if len(levels) != 1 or not 1 <= levels[0] <= MAX_LEVELS:
        raise ValueError(f"levels: expected shape [K] with K from 1 to {MAX_LEVELS}, found {list(levels)}")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected torch.float32, found {tensor.dtype}")
        if tensor.device != directions.device:
            raise ValueError(f"{name} and directions: expected one device, found {tensor.device}, {directions.device}")
