"""Frames of a portable avatar: blendshapes, linear blend skinning, the portrait camera, layers over one another."""

from typing import Any

import torch
from torch import Tensor

from inference.fast.grids import CAMERA
from inference.portable.avatar import POSED, LayeredAvatar
from inference.portable.skinning import SmoothedSkinning, portrait_view
from networks.cameras import pixel_directions
from networks.compositing import Frame
from networks.manifold.generator_config import UPSCALE
from networks.person.body_model import euler_to_matrix
from torch_utils.device import full_precision
from torch_utils.ops.pose_vertices import pose_vertices
from torch_utils.ops.pose_vertices_ref import View
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
        self._vertices, self._uv, self._joints, self._weights = (
            part.to(device) for part in (avatar.vertices, avatar.uv, avatar.joints, avatar.weights)
        )
        self._triangles, self._layers, self._atlas = (
            part.to(device) for part in (avatar.triangles, avatar.layers, avatar.atlas)
        )
        self._neutral = None if skinning is None else skinning.neutral(self._vertices)
        self._morphs = torch.cat([avatar.morphs, avatar.correctives]).to(device).flatten(1)  # [T + K, 3 V]
        self._rows = [row for row, name in enumerate(POSED) if name in avatar.joint_names]  # of joint_eulers
        self._turned = [avatar.joint_names.index(POSED[row]) for row in self._rows]  # and whose they are
        self._places = avatar.joint_positions[self._turned]
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
        view = portrait_view(camera, self._size, self._device)
        screen = self._pose(self._express(expression), joint_eulers, view)
        size = (self._size, self._size)
        rgb, alpha, depth = rasterize_layers(
            screen, self._uv, self._triangles, self._layers, self._atlas, size, impl=self._impl
        )
        image = rgb.mul_(2).sub_(1)
        small = torch.nn.functional.avg_pool2d(image, UPSCALE)
        return Frame(image, small, depth.mul_(self._ray_lengths), alpha)

    def _express(self, expression: Tensor) -> Tensor:
        """What an expression moves the vertices by [V, 3]."""
        amounts = self.avatar.morph_amounts(expression)
        amounts = torch.cat([amounts, self.avatar.corrective_amounts(amounts)])
        return (amounts.to(self._device, non_blocking=True) @ self._morphs).view(-1, 3)

    def _pose(self, moved: Tensor, joint_eulers: Tensor, view: View) -> Tensor:
        """The vertices, moved by an expression, in a pose, on the screen [V, 3]."""
        smoothed: dict[str, Any] = {}
        if self._skinning is not None and self._neutral is not None:
            volume = self._skinning.volume(joint_eulers, view)
            # Blendshapes move a person at rest as they move the canonical one.
            smoothed = {"neutral": self._neutral + moved, "volume": volume}
        transforms = self._transforms(joint_eulers).to(self._device, non_blocking=True)
        arguments = self._vertices + moved, self._joints, self._weights, transforms, view
        return pose_vertices(*arguments, **smoothed, impl=self._impl).screen

    def _transforms(self, joint_eulers: Tensor) -> Tensor:
        """What the joints do to what follows them [J, 4, 4]: each turns about its place, and with it what is below."""
        turns = torch.eye(4).repeat(len(self.avatar.joint_names), 1, 1)
        rotations = euler_to_matrix(joint_eulers[self._rows])
        turns[self._turned, :3, :3] = rotations
        turns[self._turned, :3, 3] = self._places - (rotations @ self._places[..., None]).squeeze(-1)
        chain: list[Tensor] = []
        for turn, parent in zip(turns, self.avatar.joint_parents, strict=True):
            chain.append(turn if parent < 0 else chain[parent] @ turn)
        return torch.stack(chain)
