"""An avatar without nets: what they add is linear in the pose, the expression and the view (SqueezeMe, 2024).

    raw values [N, 14] = base + c @ directions,    c = mixing(features), within what was seen in fitting
    features = (the pose in the avatar's own principal components, the expression's coefficients, where the camera is)

so a frame is one matrix product, skinning and a splat. Of N Gaussians, R directions.
"""

from typing import Any

import torch
from torch import Tensor, nn

from networks.gaussian.avatar import (
    CHANNELS,
    AvatarConfig,
    GaussianAvatar,
    Gaussians,
    Pose,
    head_and_shoulder_pose,
    live_gaussians,
)
from networks.gaussian.maps import ANY
from networks.gaussian.skinning import Law, point_transforms
from networks.person.body_model import MOVING
from torch_utils.checkpoint import in_single_precision, load_weights
from torch_utils.device import full_precision
from torch_utils.misc import UserError

CONVENTION = "linear_avatar"
WIDTH = sum(CHANNELS.values())
VIEW = 3  # features: a unit vector
LEAST_LIMIT = 3.0  # standard deviations that coefficients may be off, at least
_STEPS = 127  # of a byte


class LinearAvatar(nn.Module):
    """One actor; made by :meth:`of` or from a file.

    Args:
        count: Gaussians. joints: of the skeleton. moving: those of them that Gaussians hang on.
        components: of poses. expressions: coefficients. rank: directions.
    """

    positions: Tensor
    lbs_weights: Tensor
    joints: Tensor
    parents: Tensor
    moving: Tensor
    pose_basis: Tensor
    pose_offset: Tensor
    limits: Tensor
    most: Tensor

    def __init__(
        self, count: int, joints: int, moving: int, components: int, expressions: int, rank: int, *,
        position_unit: float, pose_sigma: float, skinning: Law,
    ):  # fmt: skip
        super().__init__()
        self.position_unit, self.pose_sigma, self.skinning = position_unit, pose_sigma, skinning
        self.expressions = expressions
        self.register_buffer("positions", torch.zeros(count, 3))  # canonical, with a neutral face
        self.register_buffer("lbs_weights", torch.zeros(count, moving))
        self.register_buffer("joints", torch.zeros(joints, 3))
        self.register_buffer("parents", torch.zeros(joints, dtype=torch.int64))
        self.register_buffer("moving", torch.zeros(moving, dtype=torch.int64))
        self.register_buffer("pose_basis", torch.zeros(components, moving * 12))  # of the upper rows of transforms
        self.register_buffer("pose_offset", torch.zeros(components))
        self.register_buffer("limits", torch.zeros(rank))
        self.register_buffer("most", torch.full((expressions,), ANY))  # of coefficients that have an effect
        self.base = nn.Parameter(torch.zeros(count, WIDTH))
        self.directions = nn.Parameter(torch.zeros(rank, count, WIDTH))
        self.mixing = nn.Linear(components + expressions + VIEW, rank)

    @classmethod
    @torch.no_grad()
    def of(cls, avatar: GaussianAvatar, rank: int) -> "LinearAvatar":
        """What it shares with an avatar; directions are still zero. Raises UserError: poses are not projected."""
        config, maps = avatar.config, avatar.maps
        if config.pose_components == 0 or not avatar.pose_projection.deviations.any():
            raise UserError("linear avatar: expected an avatar with pose_components, found one that projects no poses")
        moving = moving_joints(avatar)
        result = cls(
            len(maps.positions), len(avatar.joints), len(moving), config.pose_components,
            maps.expression_basis.shape[2], rank, position_unit=config.position_unit, pose_sigma=config.pose_sigma,
            skinning=config.skinning,
        )  # fmt: skip
        result.positions, result.joints, result.parents = (
            part.cpu().clone() for part in (maps.positions, avatar.joints, avatar.parents)
        )
        result.most = maps.most.cpu().clone()
        result.moving = torch.tensor(moving)
        bearer = bearers(avatar.parents.tolist(), moving)
        result.lbs_weights.index_add_(1, torch.tensor([moving.index(j) for j in bearer]), maps.lbs_weights.cpu())
        # The projection's coefficients in standard deviations: positions are linear in transforms, they in positions.
        projection, points = avatar.pose_projection, maps.positions[avatar.seen].cpu()
        seen = torch.cat([points, torch.ones_like(points[:, :1])], -1)
        deviations = projection.deviations.cpu()
        scale = torch.where(deviations > 1e-3 * deviations.max(), 1 / deviations.clamp(min=1e-12), 0.0)
        rows = scale[:, None] * projection.basis.cpu()  # [P, M * 3]
        weights = result.lbs_weights[avatar.seen.cpu()]
        basis = torch.einsum("pma,mj,mb->pjab", rows.unflatten(1, (-1, 3)), weights, seen)
        result.pose_basis, result.pose_offset = basis.flatten(1), -rows @ projection.mean.cpu()
        return result

    def pose(self, expression: Tensor, joint_eulers: Tensor) -> Pose:
        """Of a head-and-shoulder body: expression [E], joint_eulers [6, 3] as ``BodyModel`` takes them."""
        return head_and_shoulder_pose(self.joints, self.parents, expression, joint_eulers)

    @full_precision()
    def features(self, pose: Pose, camera: Tensor) -> Tensor:
        """[P + E + 3]: the pose in standard deviations of training's, the expression, the direction to the camera."""
        rows = pose.rootless[self.moving, :3].flatten()
        standing = (self.pose_basis @ rows + self.pose_offset).clamp(-self.pose_sigma, self.pose_sigma)
        root = pose.transforms[0]  # the view is that of somebody who stands still
        towards = root[:3, :3].T @ (camera - root[:3, 3]) - self.positions.mean(0)
        return torch.cat([standing, pose.expression.minimum(self.most), nn.functional.normalize(towards, dim=0)])

    @full_precision()
    def forward(self, pose: Pose, camera: Tensor) -> Gaussians:
        """The Gaussians of a frame, seen by a camera [3]."""
        mixed = self.mixing(self.features(pose, camera)).clamp(-self.limits, self.limits)
        raw = self.base + (mixed @ self.directions.flatten(1)).view_as(self.base)
        transforms = point_transforms(self.lbs_weights, pose.transforms[self.moving])
        return live_gaussians(transforms, self.positions, raw, self.position_unit, self.skinning)

    def driven(self, pose: Pose, camera: Tensor) -> Gaussians:
        """As :meth:`forward`, which knows no other poses."""
        return self(pose, camera)


def moving_joints(avatar: GaussianAvatar) -> list[int]:
    """Of a head-and-shoulder skeleton those that controls turn; of any other all."""
    return list(MOVING) if len(avatar.joints) == 24 else list(range(len(avatar.joints)))


def bearers(parents: list[int], moving: list[int]) -> list[int]:
    """Of every joint [J] the moving one that it moves with: itself, or the nearest above it."""
    found: list[int] = []
    for joint, parent in enumerate(parents):
        found.append(joint if joint in moving or joint == 0 else found[parent])
    return found


def pack_linear(avatar: LinearAvatar, metadata: dict[str, Any]) -> dict[str, Any]:
    """Plain data for ``save_checkpoint``; docs/avatars.md describes the file. Directions are stored as bytes."""
    state = {name: value.detach().cpu().clone() for name, value in avatar.state_dict().items()}
    directions = state.pop("directions")
    scales = directions.abs().amax(1).clamp(min=1e-12) / _STEPS  # [R, 14]
    state["directions"] = (directions / scales[:, None]).round().to(torch.int8)
    state["direction_scales"] = scales
    numbers = {name: getattr(avatar, name) for name in ("position_unit", "pose_sigma", "skinning")}
    return {"convention": CONVENTION, "config": numbers, "state": state, "metadata": metadata}


def unpack_linear(data: dict[str, Any], where: str) -> tuple[LinearAvatar, dict[str, Any]]:
    """The inverse of :func:`pack_linear`, in eval mode. Raises UserError naming ``where``."""
    if data.get("convention") != CONVENTION or not isinstance(data.get("state"), dict):
        raise UserError(f"{where}: expected a linear avatar, found {data.get('convention', 'another file')!r}")
    try:
        state, config = dict(data["state"]), data["config"]
        state["directions"] = state["directions"].float() * state.pop("direction_scales")[:, None]
        state = in_single_precision(state)
        rank, count, _ = state["directions"].shape
        moving, components = state["lbs_weights"].shape[1], len(state["pose_offset"])
        expressions = state["mixing.weight"].shape[1] - components - VIEW
        state.setdefault("most", torch.full((expressions,), ANY))  # files from before it
        checked = AvatarConfig(
            position_unit=config["position_unit"], pose_sigma=config["pose_sigma"], skinning=config["skinning"]
        )
        avatar = LinearAvatar(
            count, len(state["joints"]), moving, components, expressions, rank, position_unit=checked.position_unit,
            pose_sigma=checked.pose_sigma, skinning=checked.skinning,
        )  # fmt: skip
    except (KeyError, ValueError, AttributeError, IndexError, TypeError, RuntimeError) as error:
        raise UserError(f"{where}: expected a linear avatar's arrays, found none that fit: {error}") from error
    load_weights(avatar, state, where)
    return avatar.eval(), data.get("metadata") or {}
