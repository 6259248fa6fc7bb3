"""What differs from frame to frame of a video, and where that puts the body's points in the picture.

A frame's parameters are a row of Q numbers: the portrait camera's angles from the front, a similarity that lays the
camera's frame into the picture (a person may stand anywhere in it, and be turned by ``roll``), and the turns of head,
collars and shoulders. Neck and head share a turn (controls.NECK_SHARE).

**What a picture cannot tell.** Only the head's turn before the camera is seen well, and camera and head turn share it:
the same face appears when a head turns left and when the camera goes round to its other side. The camera is by
definition where the chest faces (networks/person/tracking.py), so the shoulders decide, and where they do not, priors.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from networks.cameras import FRONTAL, PORTRAIT_CAMERA, project
from networks.person.controls import HEAD, LEFT_COLLAR, LEFT_SHOULDER, NECK, NECK_SHARE, RIGHT_COLLAR, RIGHT_SHOULDER
from networks.person.fitting.points import BodyPoints

CAMERA, ROLL, SCALE, SHIFT = slice(0, 2), 2, 3, slice(4, 6)  # radians, radians, log of pixels a unit, pixels
VIEW = slice(0, 6)
HEAD_TURN, COLLARS, ARMS = slice(6, 9), slice(9, 13), slice(13, 19)  # radians
TURNS = slice(6, 19)
NUM_FRAME = 19
# Row of joint_eulers and column of it, with the share of the turn that it takes, for every column of TURNS.
_EULERS = (
    *((((NECK, axis), NECK_SHARE), ((HEAD, axis), 1 - NECK_SHARE)) for axis in range(3)),
    *((((joint, axis), 1.0),) for joint in (LEFT_COLLAR, RIGHT_COLLAR) for axis in range(2)),
    *((((joint, axis), 1.0),) for joint in (LEFT_SHOULDER, RIGHT_SHOULDER) for axis in range(3)),
)


def eulers_matrix() -> Tensor:
    """[13, 6, 3] float64: joint_eulers = turns @ it."""
    matrix = torch.zeros(len(_EULERS), 6, 3, dtype=torch.float64)
    for row, places in enumerate(_EULERS):
        for place, share in places:
            matrix[(row, *place)] = share
    return matrix


def joint_eulers(frames: Tensor) -> Tensor:
    """Parameters [B, Q] -> [B, 6, 3] radians."""
    return torch.einsum("bt,tje->bje", frames[:, TURNS], eulers_matrix().to(frames))


def camera(frames: Tensor) -> Tensor:
    """Parameters [B, Q] -> pitch, yaw [B, 2] radians."""
    return frames[:, CAMERA] + FRONTAL


def similarity(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix [B, 2, 2] and shift [B, 2]: pixel = matrix @ u + shift, u in -1..1 of the portrait frame, y down."""
    c, s = frames[:, ROLL].cos(), frames[:, ROLL].sin()
    turn = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
    return frames[:, SCALE].exp()[:, None, None] * turn, frames[:, SHIFT]


def to_picture(posed: Tensor, frames: Tensor) -> Tensor:
    """Posed points [B, N, 3], canonical units -> pixels [B, N, 2] of the picture, x right, y down."""
    seen = project(posed, camera(frames), PORTRAIT_CAMERA)[..., :2]
    matrix, shift = similarity(frames)
    return (seen * seen.new_tensor([1.0, -1.0])) @ matrix.mT + shift[:, None]


def pixels_of(points: BodyPoints, shape: Tensor, frames: Tensor, actions: Tensor) -> Tensor:
    """Where N points of a person of a shape [90] are seen in frames [F, Q] with actions [F, 52]: [F, N, 2] pixels."""
    transforms = points.transforms(points.joints(shape), joint_eulers(frames))
    return to_picture(points.pose(points.canonical(shape, actions), transforms), frames)


class Linear(NamedTuple):
    """Pixels of N points in F frames, and what moves them."""

    pixels: Tensor  # [F, N, 2]
    by_frame: Tensor  # [F, N, 2, Q]
    by_action: Tensor  # [F, N, 2, 52]
    by_shape: Tensor | None  # [F, N, 2, 90]


def linearise(points: BodyPoints, shape: Tensor, frames: Tensor, actions: Tensor, *, shapes: bool = False) -> Linear:
    """Pixels and their derivatives by forward-mode differentiation through body and camera.

    Args:
        points: N of them.
        shape: [90] z_id and betas, the same in all frames. How betas move the joints that turn is left out.
        frames: [F, Q].
        actions: [F, 52].
        shapes: whether derivatives by the shape are wanted.
    """
    canonical = points.canonical(shape, actions)  # [F, N, 3]
    transforms, moves = _transforms(points, points.joints(shape), frames)
    posed = points.pose(canonical, transforms)
    pixels, by_view, by_point = _pixels(posed, frames)
    ends = torch.cat([canonical, torch.ones_like(canonical[..., :1])], -1)
    spread = (points.skinning[None, :, :, None] * ends[:, :, None]).flatten(2)  # [F, N, J * 4]
    moved = (spread @ moves).unflatten(-1, (3, -1))  # [F, N, 3, T]
    rows = torch.einsum("nj,fjrc->fnrc", points.skinning, transforms[..., :3])
    by_canonical = _small_product(by_point, rows)  # [F, N, 2, 3]
    return Linear(
        pixels,
        torch.cat([by_view, _small_product(by_point, moved)], -1),
        torch.einsum("fnrc,nck->fnrk", by_canonical, points.exp_basis),
        torch.einsum("fnrc,nck->fnrk", by_canonical, points.shape_basis) if shapes else None,
    )


def _transforms(points: BodyPoints, joints: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Transforms [F, J, 3, 4], and their derivatives by TURNS [F, J * 4, 3 * T]."""
    count, turns = len(frames), frames[:, TURNS]
    width = turns.shape[1]
    with forward_ad.dual_level():
        ways = torch.eye(width, dtype=frames.dtype).repeat_interleave(count, 0)  # [T F, T]
        dual = _dual(turns.repeat(width, 1), ways)
        eulers = torch.einsum("bt,tje->bje", dual, eulers_matrix().to(frames))
        found = forward_ad.unpack_dual(points.transforms(joints, eulers))
    moves = found.tangent.unflatten(0, (width, count)).permute(1, 2, 4, 3, 0)  # [F, J, 4, 3, T]
    return found.primal[:count], moves.reshape(count, moves.shape[1] * 4, 3 * width)


def _pixels(posed: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [F, N, 2], and their derivatives by VIEW [F, N, 2, 6] and by the points [F, N, 2, 3]."""
    count = len(frames)
    views, ways = 6, 9
    tangents = torch.zeros(ways, count, frames.shape[1], dtype=frames.dtype)
    tangents[range(views), :, range(views)] = 1
    shifts = torch.zeros(ways, *posed.shape, dtype=posed.dtype)
    shifts[range(views, ways), ..., range(3)] = 1
    with forward_ad.dual_level():
        dual_frames = _dual(frames.repeat(ways, 1), tangents.flatten(0, 1))
        dual_points = _dual(posed.repeat(ways, 1, 1), shifts.flatten(0, 1))
        found = forward_ad.unpack_dual(to_picture(dual_points, dual_frames))
    moves = found.tangent.unflatten(0, (ways, count)).permute(1, 2, 3, 0)  # [F, N, 2, 9]
    return found.primal[:count], moves[..., :views], moves[..., views:]


def _dual(values: Tensor, ways: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)  # torch's own, when this is first used
        return forward_ad.make_dual(values, ways)


def _small_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b [..., 2, C] of very many matrices [..., 2, 3] and [..., 3, C], which a batched product takes one by one."""
    return sum(a[..., k, None] * b[..., k, None, :] for k in range(3))  # type: ignore[return-value]
