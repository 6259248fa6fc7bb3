"""Vertices of a layered person to a pose and to the screen: linear blend skinning, and what D^p makes of it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.custom_ops import aligned, select
from torch_utils.ops.pose_vertices_ref import ENOUGH, ROUNDS, Posed, RayVolume, View, pose_vertices_ref

INFLUENCES = 4  # joints a vertex


def pose_vertices(
    rest: Tensor,
    joints: Tensor,
    weights: Tensor,
    transforms: Tensor,
    view: View,
    *,
    neutral: Tensor | None = None,
    volume: RayVolume | None = None,
    rounds: int = ROUNDS,
    enough: float = ENOUGH,
    impl: str = "auto",
) -> Posed:
    """Poses vertices by linear blend skinning, and projects them.

    With ``volume``, inverse transforms in the view's rays, skinning is a guess: by fixed point a vertex goes where the
    volume carries it to ``neutral``. A vertex stays once less than ``enough`` was missing.

    Args:
        rest: [V, 3] float32.
        joints: [V, 4] uint8, rows of transforms: the caller's to check. weights: [V, 4] float32.
        transforms: [J, 4, 4] float32, affine.
        view: the camera.
        neutral: [V, 3] float32, where the volume should carry them; together with ``volume``.
        volume: of [H, W, S, 16] float32, two nodes or more each way.
        rounds: of the fixed point, at most.
        enough: in the vertices' units.
        impl: ``ref`` (plain torch, slow), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        points [V, 3], and screen [V, 3]: x and y in pixels, distance along the optical axis. No gradients.

    Raises:
        ValueError: shapes, devices, ``rounds``, ``enough`` or ``impl`` do not fit.
        TypeError: another dtype.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    scene = {"rest": rest, "joints": joints, "weights": weights, "transforms": transforms, "camera": view.camera}
    if (neutral is None) != (volume is None):
        raise ValueError("neutral and volume: expected both or neither, found one")
    if neutral is not None and volume is not None:
        scene |= {"neutral": neutral, "volume": volume.values}
    _check(scene)
    if rounds < 0 or not 0 <= enough < math.inf:
        raise ValueError(f"rounds and enough: expected numbers from 0, found {rounds} and {enough}")
    ops = select(impl, rest.device)
    if ops is None:
        return pose_vertices_ref(rest, joints, weights, transforms, view, neutral, volume, rounds, enough)
    found = Posed(torch.empty_like(rest, memory_format=torch.contiguous_format), rest.new_empty(rest.shape))
    parts = [part.contiguous() for part in (joints, weights)]
    rays = (0.0, 0.0, 0.0, None, 0, 0, 0)
    if volume is not None:
        scales = map(float, volume[1:])
        rays = (*scales, aligned(volume.values), *volume.values.shape[:3])
    kept = (rest.contiguous(), None if neutral is None else neutral.contiguous(), *parts, aligned(transforms))
    camera = (view.camera.contiguous(), float(view.focal), float(view.middle))
    count = len(rest)
    ops("pose_vertices_float", *kept, *camera, *rays, rounds, float(enough), *found, count, threads=count)
    return found


def _check(scene: dict[str, Tensor]) -> None:
    vertices = len(scene["rest"]) if scene["rest"].ndim else 0
    shapes: dict[str, Sequence[int | str]] = {
        "rest": ("V", 3), "joints": (vertices, INFLUENCES), "weights": (vertices, INFLUENCES),
        "transforms": ("J", 4, 4), "camera": (12,), "neutral": (vertices, 3), "volume": ("H", "W", "S", 16),
    }  # fmt: skip
    for name, tensor in scene.items():
        shape = shapes[name]
        if tensor.ndim != len(shape) or any(
            isinstance(n, int) and n != found for found, n in zip(tensor.shape, shape, strict=True)
        ):
            raise ValueError(f"{name}: expected shape [{', '.join(map(str, shape))}], found {list(tensor.shape)}")
        dtype = torch.uint8 if name == "joints" else torch.float32
        if tensor.dtype != dtype:
            raise TypeError(f"{name}: expected {dtype}, found {tensor.dtype}")
        if tensor.device != scene["rest"].device:
            raise ValueError(f"{name} and rest: expected one device, found {tensor.device}, {scene['rest'].device}")
    if "volume" in scene and min(scene["volume"].shape[:3]) < 2:
        raise ValueError(f"volume: expected two nodes or more each way, found {list(scene['volume'].shape[:3])}")
