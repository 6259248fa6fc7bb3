"""Pictures of tri-grid models for distances: FID, KID and their kin (3DPortraitGAN; LPFF for the conditioning)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from networks.person.priors import LabelPriors, Latents
from networks.trigrid.deformation import UNIT
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.superresolution import resized
from torch_utils.misc import UserError
from training.metrics.renderers import Rendered
from training.sampling import Inputs, random_generator


class TriGridRenderer:
    """A saved tri-grid. People are rendered in the pose and from the camera of a row of the data, and conditioned on
    those of another one: what a model makes of a camera that it was not told says more of its 3D (LPFF, 2023).

    Args:
        portrait: on its device.
        priors: whose rows condition people; None: the front camera and the body at rest.
        name: for messages.
    """

    face_model: str | None = None  # it has no expressions
    only: Latents | None = None

    def __init__(self, portrait: TriGridPortrait, priors: LabelPriors | None, name: str):
        self.portrait, self.priors, self.name = portrait, priors, name
        size = portrait.config.image_size
        self.size = {"portrait": size, "face": size}
        self.body = copy.deepcopy(portrait.body).cpu()

    @torch.no_grad()
    def __call__(self, inputs: Inputs, views: tuple[str, ...]) -> dict[str, Rendered]:
        """Raises UserError: the face camera is asked for, which stands nearer than these models render."""
        if set(views) != {"portrait"}:
            raise UserError(
                f"--regions: expected full, for {self.name} is a tri-grid, which no face camera sees; nor are metrics "
                "of control for it"
            )
        portrait, device = self.portrait, next(self.portrait.parameters()).device
        ws = torch.cat([self.style(row) for row in inputs.z_noise]).to(device)
        rotations = portrait.space.rotations_of(portrait.body, inputs.joint_eulers.to(device))
        label = portrait.camera_label(inputs.camera.to(device))
        seen = portrait.pictures(portrait.person_of(ws), rotations, label, expression=inputs.z_exp.to(device))
        alpha, depth = (resized(part, portrait.config.image_size)[:, 0] for part in (seen.mask, seen.depth / UNIT))
        return {"portrait": Rendered(seen.image.clamp(-1, 1).cpu(), alpha.clamp(0, 1).cpu(), depth.cpu())}

    def style(self, z_noise: Tensor) -> Tensor:
        """ws [1, L, C] of a row's noise [80]: z and what conditions it follow from its first numbers."""
        portrait, device = self.portrait, next(self.portrait.parameters()).device
        random = random_generator(*z_noise[:2].contiguous().view(torch.int32).abs().tolist())
        z = torch.randn(1, portrait.config.latent_dim, generator=random).to(device)
        if self.priors is None:
            return portrait.style(z)
        eulers, camera = (part.to(device) for part in self.priors.sample_pose_camera(1, random))
        pose = portrait.space.pose_of(portrait.space.rotations_of(portrait.body, eulers))
        return portrait.trigrid.style(z, portrait.camera_label(camera), pose)
