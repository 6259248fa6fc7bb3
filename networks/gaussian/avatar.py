"""An avatar of one actor: Gaussians on canonical maps, moved and coloured by nets that see the pose, skinned, splatted.

Unlike the published one, the canonical Gaussians are parameters; the nets' last layers begin at zero, which is where
its pretraining leads; expressions move the Gaussians before any net, and the nets see them in channels of their own.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from networks.gaussian.maps import CanonicalMaps, view_cosines
from networks.gaussian.pose_projection import PoseProjection
from networks.gaussian.skinning import Law, joint_transforms, live_axes, point_transforms, transform_points
from networks.gaussian.style_unet import DualStyleUNet, UNetConfig, ViewFeatures
from networks.person.body_model import POSED_JOINTS, euler_to_matrix
from torch_utils.bounds import Range, check_ranges
from torch_utils.checkpoint import in_single_precision, load_weights
from torch_utils.config import config_from_dict, config_to_dict
from torch_utils.misc import UserError
from torch_utils.ops.splat import Splat, splat_axes

CONVENTION = "gaussian_avatar"
INITIAL_OPACITY = 0.1
VIEW_NOISE = 0.1  # of the directions to the camera, in training
EXPRESSION_UNIT = 50.0  # displacements are shown to the nets in fiftieths of a unit: beside an arm's, a smile's vanish
# Channels that are predicted of a Gaussian, and how many nets share them out.
CHANNELS = {"colour": 3, "position": 3, "other": 8}
POSITION = slice(3, 6)  # of the channels
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "static": {},
    "one": {"all": ("colour", "position", "other")},
    "three": {name: (name,) for name in CHANNELS},
}


@dataclass(frozen=True, kw_only=True)
class AvatarConfig:
    """Sizes and choices; the defaults are the published ones but for ``canonical``."""

    map_size: Annotated[int, Range(8, 4096)] = 1024  # pixels a side of the front map and of the back map
    nets: Literal["static", "one", "three"] = "three"  # none at all; one for everything; one each, as published
    unet: UNetConfig = field(default_factory=UNetConfig)  # its size is half the maps'
    view_dependent: bool = True
    canonical: Literal["learned", "fixed"] = "learned"
    skinning: Law = "exact"
    position_unit: Annotated[float, Range(1e-6, 1e3)] = 0.05  # of what nets and parameters say of positions
    pose_components: Annotated[int, Range(0, 1000)] = 20  # 0: poses are not projected
    pose_sigma: Annotated[float, Range(0.0, 100.0)] = 2.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.nets != "static" and self.unet.size * 2 != self.map_size:
            raise ValueError(f"unet.size: expected half of map_size ({self.map_size}), found {self.unet.size}")


class Pose(NamedTuple):
    """Joints of the canonical pose as they stand now."""

    transforms: Tensor  # [J, 4, 4]
    rootless: Tensor  # [J, 4, 4] without the whole body's turn and way: what the nets see
    expression: Tensor  # [E]


class View(NamedTuple):
    """A pinhole camera, OpenCV's axes."""

    world_to_camera: Tensor  # [4, 4]
    intrinsics: Tensor  # [4] fx, fy, cx, cy in pixels, the first pixel's centre at 0.5
    size: tuple[int, int]  # height, width

    @property
    def origin(self) -> Tensor:
        """[3] in the world."""
        return -self.world_to_camera[:3, :3].T @ self.world_to_camera[:3, 3]


class Gaussians(NamedTuple):
    """Of a frame, in the world."""

    means: Tensor  # [N, 3]
    axes: Tensor  # [N, 3, 3]
    opacities: Tensor  # [N]
    colours: Tensor  # [N, 3] RGB, 0..1 but for what overshoots
    offsets: Tensor  # [N, 3] that the nets and the learned canonical positions add, before skinning

    def draw(self, view: View, background: Tensor | float = 1.0, *, impl: str = "auto") -> Splat:
        """The picture."""
        parts = (self.means, self.axes, self.opacities, self.colours)
        return splat_axes(*parts, view.world_to_camera, view.intrinsics, view.size, background, impl=impl)


def head_and_shoulder_pose(joints: Tensor, parents: Tensor, expression: Tensor, joint_eulers: Tensor) -> Pose:
    """Of a body [24, 3] that stands: expression [E], joint_eulers [6, 3] as ``BodyModel`` takes them."""
    rotations = torch.eye(3, device=joint_eulers.device).repeat(len(joints), 1, 1)
    rotations[POSED_JOINTS] = euler_to_matrix(joint_eulers)
    transforms = joint_transforms(joints, parents, rotations)
    return Pose(transforms, transforms, expression)


def live_gaussians(transforms: Tensor, points: Tensor, raw: Tensor, position_unit: float, law: Law) -> Gaussians:
    """Gaussians of a frame.

    Args:
        transforms: [N, 4, 4], of joints, blended.
        points: [N, 3] canonical positions that raw ones are offsets of.
        raw: [N, 14] by CHANNELS: colours as they are; offsets in ``position_unit``; logits, logarithms, quaternions.
    """
    colour, position, other = raw.split(list(CHANNELS.values()), -1)
    opacity, log_scale, rotation = other.split([1, 3, 4], -1)
    offsets = position_unit * position
    axes = live_axes(transforms, nn.functional.normalize(rotation, dim=-1), log_scale.exp(), law)
    return Gaussians(transform_points(transforms, points + offsets), axes, opacity[:, 0].sigmoid(), colour, offsets)


class GaussianAvatar(nn.Module):
    """One actor.

    Args:
        config: sizes.
        maps: which Gaussians there are.
        joints: [J, 3] of the skeleton in the canonical pose. parents: [J].
    """

    joints: Tensor
    parents: Tensor
    seen: Tensor

    def __init__(self, config: AvatarConfig, maps: CanonicalMaps, joints: Tensor, parents: Tensor):
        super().__init__()
        if maps.size != config.map_size:
            raise ValueError(f"maps: expected {config.map_size} pixels a side, found {maps.size}")
        self.config, self.maps = config, maps
        count, expressions = len(maps.pixels), maps.expression_basis.shape[2]
        self.register_buffer("joints", joints.clone())
        self.register_buffer("parents", parents.clone())
        # Raw values, as nets add to them: logits of opacity, logarithms of scales.
        canonical = {
            "colour": torch.full((count, 3), 0.5),
            "position": torch.zeros(count, 3),
            "other": torch.cat([torch.zeros(count, 4), torch.eye(4)[:1].expand(count, 4)], 1),
        }
        canonical["other"][:, 0] = torch.tensor(INITIAL_OPACITY).logit()
        self.canonical = nn.ParameterDict({name: nn.Parameter(value) for name, value in canonical.items()})
        self.canonical.requires_grad_(config.canonical == "learned")
        self.nets = nn.ModuleDict()
        for name, parts in LAYOUTS[config.nets].items():
            net = DualStyleUNet(config.unet, 12, sum(CHANNELS[part] for part in parts))
            net.start_at_zero()
            self.nets[name] = net
        if self.nets and config.view_dependent:
            width = config.unet.view_width
            self.view_features: ViewFeatures | None = ViewFeatures(max(1, width // 2), width)
        else:
            self.view_features = None
        # The nets see every second row and column.
        rows, columns = maps.pixels // (2 * maps.size), maps.pixels % (2 * maps.size)
        self.register_buffer("seen", ((rows % 2 == 0) & (columns % 2 == 0)).nonzero().squeeze(-1), persistent=False)
        components = config.pose_components
        self.pose_projection = PoseProjection(3 * len(self.seen), components, config.pose_sigma)
        self.expression_projection = PoseProjection(expressions, min(components, expressions), config.pose_sigma)

    @property
    def expressions(self) -> int:
        """Coefficients that it takes."""
        return self.maps.expression_basis.shape[2]

    @torch.no_grad()
    def start(self) -> None:
        """Scales as wide as neighbours are apart: a new avatar's first values."""
        self.canonical["other"][:, 1:4] = self.maps.initial_log_scales()[:, None]

    def pose(self, expression: Tensor, joint_eulers: Tensor) -> Pose:
        """Of a head-and-shoulder body: expression [E], joint_eulers [6, 3] as ``BodyModel`` takes them."""
        return head_and_shoulder_pose(self.joints, self.parents, expression, joint_eulers)

    def seen_positions(self, pose: Pose) -> Tensor:
        """Template points as the nets would see a pose with a neutral face: [M, 3] of the M that they see."""
        transforms = point_transforms(self.maps.lbs_weights[self.seen], pose.rootless)
        return transform_points(transforms, self.maps.positions[self.seen])

    def fit_projection(self, poses: list[Pose]) -> None:
        """To poses of training, and to their expressions by themselves: one PCA would lose these."""
        if self.config.pose_components == 0:
            return
        poses = poses * 2 if len(poses) == 1 else poses  # all others are brought to that one
        self.pose_projection.fit(torch.stack([self.seen_positions(pose).flatten() for pose in poses]))
        self.expression_projection.fit(torch.stack([pose.expression for pose in poses]))

    def condition(self, pose: Pose, *, project: bool = False) -> Tensor:
        """What the nets see: positions and expression's displacements, of front and back: [1, 12, S/2, S/2]."""
        positions, expression = self.seen_positions(pose), pose.expression
        if project and self.config.pose_components > 0:
            positions = self.pose_projection(positions.flatten()[None]).reshape(-1, 3)
            expression = self.expression_projection(expression[None])[0]
        displacements = EXPRESSION_UNIT * self.maps.displacements(expression)[self.seen]
        values = positions.new_zeros(len(self.maps.pixels), 6)
        values[self.seen] = torch.cat([positions, displacements], -1)
        return self.maps.condition(values)

    def predictions(self, condition: Tensor, views: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
        """What the nets add to the canonical values, by name: [N, C] each."""
        found: dict[str, Tensor] = {}
        for name, parts in LAYOUTS[self.config.nets].items():
            seen = views if "colour" in parts else None
            front, back = self.nets[name](condition, seen)
            values = self.maps.from_maps(front[0], back[0])
            found |= dict(zip(parts, values.split([CHANNELS[part] for part in parts], -1), strict=True))
        return found

    def forward(self, pose: Pose, camera: Tensor, *, project: bool = False, static: bool = False) -> Gaussians:
        """The Gaussians of a frame.

        Args:
            camera: [3] where it is, for what depends on it.
            project: bring the pose near those of training, where the nets know what to do; skinning is not changed.
            static: leave the nets out.
        """
        maps = self.maps
        transforms = point_transforms(maps.lbs_weights, pose.transforms)
        moved = maps.positions + maps.displacements(pose.expression)
        raw = self._raw_values(pose, camera, transforms, moved, project=project, static=static)
        return live_gaussians(transforms, moved, raw, self.config.position_unit, self.config.skinning)

    def driven(self, pose: Pose, camera: Tensor) -> Gaussians:
        """Of a pose that may be unlike those of training."""
        return self(pose, camera, project=True)

    def _raw_values(
        self, pose: Pose, camera: Tensor, transforms: Tensor, moved: Tensor, *, project: bool, static: bool = False
    ) -> Tensor:
        """[N, 14]: canonical values with what the nets add to them, by CHANNELS."""
        views, added = None, {}
        if self.view_features is not None and not static:
            with torch.no_grad():
                noise = VIEW_NOISE if self.training else 0.0
                cosines = view_cosines(self.maps, transforms, transform_points(transforms, moved), camera, noise)
            views = self.view_features(cosines[:, :1]), self.view_features(cosines[:, 1:])
        if self.nets and not static:
            added = self.predictions(self.condition(pose, project=project), views)
        values = {name: self.canonical[name] for name in CHANNELS}
        return torch.cat([value + added[name] if name in added else value for name, value in values.items()], -1)

    @torch.no_grad()
    def corrected(self, pose: Pose, camera: Tensor) -> Tensor:
        """[N, 14] raw values about the neutral template: what :meth:`driven` adds, expressions among it."""
        moves = self.maps.displacements(pose.expression)
        transforms = point_transforms(self.maps.lbs_weights, pose.transforms)
        raw = self._raw_values(pose, camera, transforms, self.maps.positions + moves, project=True)
        raw[:, POSITION] += moves / self.config.position_unit
        return raw


def pack_avatar(avatar: GaussianAvatar, metadata: dict[str, Any]) -> dict[str, Any]:
    """Plain data for ``save_checkpoint``."""
    state = {name: value.detach().cpu().clone() for name, value in avatar.state_dict().items()}
    config = config_to_dict(avatar.config)
    return {"convention": CONVENTION, "config": config, "state": state, "metadata": metadata}


def unpack_avatar(data: dict[str, Any], where: str) -> tuple[GaussianAvatar, dict[str, Any]]:
    """The inverse of :func:`pack_avatar`, in eval mode. Raises UserError naming ``where``."""
    if data.get("convention") != CONVENTION or not isinstance(data.get("state"), dict):
        raise UserError(f"{where}: expected a Gaussian avatar, found {data.get('convention', 'another file')!r}")
    config = config_from_dict(AvatarConfig, data["config"], f"{where}: config")
    state = in_single_precision(data["state"])
    try:
        count, joints = state["maps.lbs_weights"].shape
        maps = CanonicalMaps(config.map_size, count, joints, state["maps.expression_basis"].shape[2])
        maps.pixels = state["maps.pixels"]
        state.setdefault("maps.most", maps.most)  # files from before it
        avatar = GaussianAvatar(config, maps, state["joints"], state["parents"])
    except (KeyError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{where}: expected a Gaussian avatar's weights, found none that fit: {error}") from error
    load_weights(avatar, state, where)
    return avatar.eval(), data.get("metadata") or {}
