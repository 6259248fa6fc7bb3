"""SMPL-X bodies in motion as avatars take them, and the cameras that the published test runs look through."""

import math

import torch
from torch import Tensor

from networks.gaussian.avatar import Pose, View
from networks.gaussian.skinning import canonical_to_live, joint_transforms
from networks.gaussian.smplx_body import canonical_rotations

HANDS = slice(25, 55)  # of SMPL-X's joints
FIST = 1.2  # radians that each joint of a finger bends


def rest_joints(canonical: Tensor, parents: Tensor) -> Tensor:
    """Joints [55, 3] in T-pose, of those in the canonical pose."""
    rotations = canonical_rotations()
    worlds, rest = [rotations[0]], [canonical[0]]
    for joint, parent in enumerate(parents.tolist()[1:], 1):
        rest.append(rest[parent] + worlds[parent].T @ (canonical[joint] - canonical[parent]))
        worlds.append(worlds[parent] @ rotations[joint])
    return torch.stack(rest)


def whole_body_pose(rest: Tensor, parents: Tensor, rotations: Tensor, translation: Tensor, expression: Tensor) -> Pose:
    """Of SMPL-X's joints at ``rest`` [55, 3], turned by ``rotations`` [55, 3, 3] in their parents' frames.

    The nets see it without the root's motion and with flat hands.
    """
    canonical = joint_transforms(rest, parents, canonical_rotations())
    still = rotations.clone()
    still[0], still[HANDS] = torch.eye(3), torch.eye(3)
    live, rootless = joint_transforms(rest, parents, rotations, translation), joint_transforms(rest, parents, still)
    return Pose(canonical_to_live(live, canonical), canonical_to_live(rootless, canonical), expression)


def fists() -> Tensor:
    """[30, 3] axis-angle of both hands, the left one first: fingers bent, thumbs as they are."""
    hands = torch.zeros(2, 5, 3, 3)  # fingers, the thumb last, and their joints
    hands[0, :4, :, 2], hands[1, :4, :, 2] = -FIST, FIST
    return hands.reshape(30, 3)


def orbit_camera(
    centre: Tensor, yaw: float, pitch: float, distance: float, orientation: Tensor | None = None
) -> Tensor:
    """World to camera [4, 4] about a point [3]: Trans(0, 0, distance) Rx(pitch) Ry(yaw) Rx(pi) G^-1 Trans(-centre).

    ``yaw`` 0 is the front, pi the back; a positive ``pitch`` looks from above. ``orientation`` [3, 3] is G, how
    somebody stands in the world.
    """
    (cy, sy), (cx, sx) = ((math.cos(angle), math.sin(angle)) for angle in (yaw, pitch))
    about_y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn = about_x @ about_y @ torch.diag(torch.tensor([1.0, -1, -1]))
    turn = turn if orientation is None else turn @ orientation.T
    result = torch.eye(4)
    result[:3, :3], result[:3, 3] = turn, torch.tensor([0.0, 0.0, distance]) - turn @ centre
    return result


def square_view(world_to_camera: Tensor, focal: float, size: int) -> View:
    """Of a square picture whose principal point is its middle; ``focal`` as a part of its side."""
    return View(world_to_camera, torch.tensor([focal * size, focal * size, size / 2, size / 2]), (size, size))
