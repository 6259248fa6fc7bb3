"""Frames of a portable avatar: blendshapes, linear blend skinning, the portrait camera, layers over one another."""

import math

import torch
from torch import Tensor

from inference.fast.grids import CAMERA
from inference.portable.avatar import POSED, LayeredAvatar
from inference.portable.motion import SmoothedSkinning
from networks.cameras import camera_frame, pixel_directions
from networks.compositing import Frame
from networks.manifold.generator_config import UPSCALE
from networks.person.body_model import euler_to_matrix
from torch_utils.device import full_precision
from torch_utils.ops.rasterize_layers import rasterize_layers


class LayersRenderer:
    """Draws one avatar on a device; threads may share it.

    Args:
        avatar: to draw.
        size: pixels a side.
        device: to draw on.
        skinning: what corrects linear blend skinning, where the person's model is at hand.
        impl: of the compiled op: ``auto``, ``ref`` (plain torch, slow), ``cpp`` or ``cuda``.
    """

    def __init__(
        self, avatar: LayeredAvatar, size: int, device: torch.device, skinning: SmoothedSkinning | None = None, *,
        impl: str = "auto",
    ):  # fmt: skip
        self._skinning = skinning
        self.avatar, self._size, self._impl, self._device = avatar, size, impl, device
        dense = torch.zeros(len(avatar.vertices), len(avatar.joint_names))
        dense.scatter_add_(1, avatar.joints.long(), avatar.weights)
        self._vertices, self._uv, self._weights = (part.to(device) for part in (avatar.vertices, avatar.uv, dense))
        self._triangles, self._layers, self._atlas = (
            part.to(device) for part in (avatar.triangles, avatar.layers, avatar.atlas)
        )
        # Most blendshapes move a part of the vertices: the others are not looked at.
        self._moved = (avatar.morphs != 0).any(2).any(0).nonzero().squeeze(1).to(device)  # [M]; none of no shapes
        self._morphs = avatar.morphs.to(device)[:, self._moved].flatten(1)  # [T, 3 M]
        turned = [avatar.joint_names.index(name) if name in avatar.joint_names else None for name in POSED]
        self._turned = [(row, joint) for row, joint in enumerate(turned) if joint is not None]
        # Distance along a pixel's ray for one along the optical axis.
        directions = pixel_directions(size, CAMERA.fov_degrees, device=device)
        self._ray_lengths = -1 / directions[:, 2].view(size, size)

    @full_precision()
    @torch.inference_mode()
    def render(self, expression: Tensor, joint_eulers: Tensor, camera: Tensor) -> Frame:
        """One frame, without a batch dimension; all arguments on the CPU.

        Args:
            expression: [64] coefficients of the person's model.
            joint_eulers: [6, 3] radians. camera: [2] (pitch, yaw) radians.

        Returns:
            as ``Person.render``; image_lr is the image, scaled down.
        """
        neutral = self._express(expression)
        posed = self._skin(neutral, joint_eulers)
        if self._skinning is not None:
            posed = self._skinning.refine(neutral, posed, joint_eulers, camera)
        positions = self._project(posed, camera)
        size = (self._size, self._size)
        rgb, alpha, depth = rasterize_layers(
            positions, self._uv, self._triangles, self._layers, self._atlas, size, impl=self._impl
        )
        image = rgb.mul_(2).sub_(1)
        small = torch.nn.functional.avg_pool2d(image, UPSCALE)
        return Frame(image, small, depth.mul_(self._ray_lengths), alpha)

    def _express(self, expression: Tensor) -> Tensor:
        """Vertices [V, 3] of the neutral pose."""
        amounts = self.avatar.morph_amounts(expression)
        used = amounts.nonzero().squeeze(1)
        if len(used) == 0:
            return self._vertices
        moved = amounts[used].to(self._device) @ self._morphs[used.to(self._device)]
        return self._vertices.index_add(0, self._moved, moved.view(-1, 3))

    def _skin(self, neutral: Tensor, joint_eulers: Tensor) -> Tensor:
        """Posed vertices [V, 3], by linear blend skinning."""
        rows = (self._weights @ self._transforms(joint_eulers).to(self._device).flatten(1)).view(-1, 3, 4)
        return (rows[..., :3] * neutral[:, None]).sum(-1) + rows[..., 3]

    def _transforms(self, joint_eulers: Tensor) -> Tensor:
        """What the joints do to what follows them [J, 3, 4]: each turns about its place, and with it what is below."""
        turns = torch.eye(4).repeat(len(self.avatar.joint_names), 1, 1)
        for row, joint in self._turned:
            rotation, place = euler_to_matrix(joint_eulers[row]), self.avatar.joint_positions[joint]
            turns[joint, :3, :3], turns[joint, :3, 3] = rotation, place - rotation @ place
        chain: list[Tensor] = []
        for turn, parent in zip(turns, self.avatar.joint_parents, strict=True):
            chain.append(turn if parent < 0 else chain[parent] @ turn)
        return torch.stack(chain)[:, :3]

    def _project(self, vertices: Tensor, camera: Tensor) -> Tensor:
        """[V, 3] x and y in pixels, and the distance along the optical axis."""
        rotation, origin = (part[0] for part in camera_frame(camera[None], CAMERA.radius))
        local = (vertices - (origin + torch.tensor(CAMERA.offset)).to(self._device)) @ rotation.to(self._device)
        focal = 0.5 * (self._size - 1) / math.tan(math.radians(CAMERA.fov_degrees) / 2)
        axial = -local[:, 2]
        middle = 0.5 * (self._size - 1)
        return torch.stack([middle + focal * local[:, 0] / axial, middle - focal * local[:, 1] / axial, axial], -1)
