"""People in tri-grids, with the body that poses them: what a checkpoint holds and a pipeline draws."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from networks.cameras import FACE_CAMERA, FRONTAL, Rays
from networks.compositing import Frame
from networks.person.body_assets import BodyArrays
from networks.person.body_model import BodyModel
from networks.person.controls import Controls
from networks.person.expression_deformation import ExpressionDeformation, ExpressionStyle
from networks.person.face_model import NUM_EXPRESSION, NUM_IDENTITY
from networks.stylegan_layers import Noise
from networks.trigrid.camera_labels import POSE_SIZE, label_rays, orbit_label, portrait_label
from networks.trigrid.config import TriGridConfig
from networks.trigrid.deformation import UNIT, PosedSpace, to_canonical
from networks.trigrid.generator import Background, Deformation, Draws, Pictures, TriGridGenerator
from networks.trigrid.superresolution import resized
from torch_utils.device import full_precision

# Metres: the whole head and what is behind it, which drawn faces show, too.
FACE_DEPTHS = (0.75 * UNIT, 1.4 * UNIT)


class TriGridPerson(NamedTuple):
    """People; frames need nothing else."""

    ws: Tensor  # [B, L, style_dim]
    planes: Tensor  # [B, 3, F, D, H, W]
    background: Background


class TriGridPortrait(nn.Module):
    """A tri-grid generator and its body.

    Args:
        config: sizes.
        body: SMPL's arrays.
        head_shoulder_index: [V'] vertices used in inverse skinning.
    """

    convention: ClassVar[str] = "trigrid"  # of weights, stored beside them (networks.saved_model)
    config_class: ClassVar[type[TriGridConfig]] = TriGridConfig

    def __init__(self, config: TriGridConfig, body: BodyArrays, head_shoulder_index: Tensor):
        super().__init__()
        self.config = config
        self.trigrid = TriGridGenerator(config)
        self.body = BodyModel(body, head_shoulder_index)
        self.space = PosedSpace(self.body, config)
        self.expression_deformation = None
        if config.expression_dim:
            self.expression_deformation = ExpressionDeformation(NUM_IDENTITY + NUM_EXPRESSION, config.expression_dim)

    @property
    def controls(self) -> Controls:
        """Heads turn, cameras stand anywhere; shoulders move and faces have expressions by config."""
        return Controls(bool(self.config.expression_dim), self.config.shoulders, all_round=True)

    def camera_label(self, camera: Tensor) -> Tensor:
        """Labels [B, 25] of cameras [B, 2] (pitch, yaw), on the orbit that the config names."""
        if self.config.orbit == "phq":
            return orbit_label(camera)
        return portrait_label(camera, self.config.image_size)

    def face_label(self, camera: Tensor, rotations: Tensor) -> Tensor:
        """Labels [B, 25] of face cameras [B, 2] (pitch, yaw), which ride on the heads of bodies [B, 6, 3, 3]; gradients
        flow to the latter. :data:`FACE_DEPTHS` are their near and far."""
        return portrait_label(camera, self.config.image_size, FACE_CAMERA, self.space.head_frame(self.body, rotations))

    def person(self, z: Tensor, *, psi: float = 1.0, cutoff: int | None = None) -> TriGridPerson:
        """People of z [B, latent_dim]; arguments as of :meth:`style`."""
        return self.person_of(self.style(z, psi=psi, cutoff=cutoff))

    def style(self, z: Tensor, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """ws [B, L, style_dim] of z [B, latent_dim], conditioned on the front camera and the body at rest.

        Args:
            psi: truncation: 1 none, 0 the mean person.
            cutoff: the first so many layers are truncated; all by default.
        """
        front = self.camera_label(z.new_full((len(z), 2), FRONTAL))
        return self.trigrid.style(z, front, z.new_zeros(len(z), POSE_SIZE), psi=psi, cutoff=cutoff)

    def person_of(self, ws: Tensor) -> TriGridPerson:
        """People of ws [B, L, style_dim]."""
        return TriGridPerson(ws, self.trigrid.planes(ws), self.trigrid.background(ws))

    def pictures(
        self, person: TriGridPerson, rotations: Tensor, label: Tensor, *, raw_size: int | None = None,
        draws: Draws | None = None, noise: Noise = "none", density_noise: float = 0.0,
        depths: tuple[float, float] | None = None, expression: Tensor | None = None,
    ) -> Pictures:  # fmt: skip
        """Pictures of people.

        Args:
            rotations: [B, 6, 3, 3] of their bodies (:class:`networks.trigrid.deformation.PosedSpace`).
            label: [B, 25] cameras.
            expression: [B, 64], of models that have expressions; None: neutral.
            raw_size, draws, noise, density_noise, depths: of
                :meth:`networks.trigrid.generator.TriGridGenerator.render`.
        """
        rays = label_rays(label, raw_size or self.config.raw_size)
        deform = self.deformation(rotations, rays, depths, expression)
        return self.trigrid.render(
            *person, label, deform, raw_size=raw_size, draws=draws, noise=noise, density_noise=density_noise,
            depths=depths,
        )  # fmt: skip

    def deformation(
        self, rotations: Tensor, rays: Rays, depths: tuple[float, float] | None = None, expression: Tensor | None = None
    ) -> Deformation | None:
        """Space about posed, expressive people -> about them at rest: first the pose is taken off, then by D^e the
        expression, as in AniPortraitGAN (section 3.1). Arguments as of :meth:`pictures`."""
        unpose = self.space(self.body, rotations, rays, depths)
        if self.expression_deformation is None or expression is None:
            return unpose
        # Whose face it is nobody knows: D^e takes it for the mean one.
        style = self.expression_deformation.style(expression.new_zeros(len(expression), NUM_IDENTITY), expression)
        return partial(self._at_rest, unpose, style)

    @full_precision()
    def _at_rest(self, unpose: Deformation | None, style: ExpressionStyle, points: Tensor) -> Tensor:
        assert self.expression_deformation is not None
        neutral = points if unpose is None else unpose(points)
        moved = self.expression_deformation(to_canonical(neutral).flatten(1, -2), style)
        return neutral + UNIT * moved.view_as(neutral)

    def render(
        self, person: TriGridPerson, joint_eulers: Tensor, camera: Tensor, expression: Tensor | None = None
    ) -> Frame:
        """Frames of people.

        Args:
            joint_eulers: [B, 6, 3] radians of joints 12..17, relative to the mean pose; collars and shoulders count
                where the config has ``shoulders``.
            camera: [B, 2] (pitch, yaw) radians.
            expression: [B, 64]; see :meth:`pictures`.
        """
        rotations = self.space.rotations_of(self.body, joint_eulers)
        seen = self.pictures(person, rotations, self.camera_label(camera), expression=expression)
        size = self.config.image_size
        alpha, depth = (resized(part, size)[:, 0] for part in (seen.mask.clamp(0, 1), seen.depth / UNIT))
        return Frame(seen.image.clamp(-1, 1), seen.raw.clamp(-1, 1), torch.where(alpha > 0, depth, 0.0), alpha)
