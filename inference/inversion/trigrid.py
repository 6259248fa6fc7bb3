"""A photo as a person of a tri-grid: the w of every layer, then the generator's weights (PanoHead, section 4.3).

The photo lies in the frame of the model's own camera, which need not be the portrait camera: where the fitted body
appears to both says how. Camera and pose stay as tracked, and so does the expression where the model has such; else the
photo's becomes a part of who it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from inference.inversion.likeness import LEAST_SIZE, Distance
from inference.inversion.stages import Stage, Steps, descend
from inference.pipeline import PortraitPipeline
from networks.cameras import PORTRAIT_CAMERA
from networks.person.fitting.photo import TrackedPhoto
from networks.person.framing import Placement, frame_points
from networks.person.tracking import View
from networks.saved_model import SavedModel
from networks.trigrid.camera_labels import project_label
from networks.trigrid.deformation import to_metres
from networks.trigrid.generator import Pictures
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.superresolution import resized

STEPS = Steps(latents=100, styles=200, weights=150)
STARTS = 600  # z whose mean w is the start
LATENT_RATE, STYLE_RATE, WEIGHT_RATE = 0.1, 0.1, 3e-4
COLOUR, MASK, PERCEPTUAL, PRIOR, LATENT_PRIOR = 1.0, 0.5, 1.0, 1e-3, 1e-3  # weights of the losses
UNTUNED = ("pose_branch.", "backbone.mapping.")  # what no picture of one person should change


class TriGridInversion:
    """See the module's docstring; arguments as of :class:`inference.inversion.manifolds.ManifoldInversion`."""

    steps: ClassVar[Steps] = STEPS

    def __init__(self, pipe: PortraitPipeline, photo: TrackedPhoto, distance: Distance | None, seed: int = 0) -> None:
        self.pipe, self.distance = pipe, distance
        generator: Any = pipe.generator  # which this method is for
        self.portraits: TriGridPortrait = copy.deepcopy(generator)
        config, device = self.portraits.config, pipe.device
        self.photo = in_frame(photo, self.portraits)
        camera, eulers = (part[None].to(device) for part in (photo.camera, photo.joint_eulers))
        with torch.no_grad():
            self.label = self.portraits.camera_label(camera)
            self.rotations = self.portraits.space.rotations_of(self.portraits.body, eulers)
        self.expression = photo.expression[None].to(device)
        image, mask = (part.to(device) for part in self.photo.picture(config.image_size))
        self.image, self.mask = image[None], resized(mask[None, None], config.raw_size)
        random = torch.Generator().manual_seed(seed)
        self._starts = torch.randn(STARTS, config.latent_dim, generator=random).to(device)

    def stages(self, steps: Steps = STEPS) -> Iterator[Stage]:
        """The mean person as tracked, and after every stage. Raises UserError: an optimisation fails."""
        portraits = self.portraits
        with torch.no_grad():
            mean = portraits.style(self._starts).mean(0, keepdim=True)
        yield self._stage("tracked", mean)
        ws = mean.clone()
        if steps.latents:
            z = torch.zeros(1, portraits.config.latent_dim, device=self.pipe.device)
            z.copy_(self._starts[:1] * 0.1)  # a direction, for the mapping normalises it

            def latent_loss(_: int) -> Tensor:
                return self._loss(portraits.style(z)) + LATENT_PRIOR * z.square().mean()

            descend("latents", [(LATENT_RATE, [z])], steps.latents, latent_loss)
            with torch.no_grad():
                ws = portraits.style(z).clone()
            yield self._stage("latents", ws)
        if steps.styles:

            def style_loss(_: int) -> Tensor:
                return self._loss(ws) + PRIOR * (ws - mean).square().mean()

            descend("styles", [(STYLE_RATE, [ws])], steps.styles, style_loss)
            yield self._stage("styles", ws)
        if steps.weights:
            named = portraits.trigrid.named_parameters()
            weights = [weight for name, weight in named if not name.startswith(UNTUNED)]
            descend("weights", [(WEIGHT_RATE, weights)], steps.weights, lambda _: self._loss(ws))
            yield self._stage("weights", ws)

    def _stage(self, name: str, ws: Tensor) -> Stage:
        person = {"ws": ws.detach().clone()}
        portraits = copy.deepcopy(self.portraits)
        return Stage(name, SavedModel(portraits, self.pipe.priors, dict(self.pipe.metadata), person))

    def _loss(self, ws: Tensor) -> Tensor:
        person = self.portraits.person_of(ws)
        seen: Pictures = self.portraits.pictures(person, self.rotations, self.label, expression=self.expression)
        loss = COLOUR * (seen.image - self.image).abs().mean() + MASK * (seen.mask - self.mask).abs().mean()
        raw = resized(self.image, self.portraits.config.raw_size)
        loss = loss + 0.5 * COLOUR * (seen.raw - raw).abs().mean()
        if self.distance is None or self.image.shape[-1] < LEAST_SIZE:
            return loss
        return loss + PERCEPTUAL * self.distance(seen.image, self.image).mean()


def in_frame(photo: TrackedPhoto, portraits: TriGridPortrait) -> TrackedPhoto:
    """The photo placed in the frame of the model's camera in its direction, by where both see the fitted body."""
    body, view = portraits.body, View(photo.camera[None].double(), torch.zeros(1, dtype=torch.float64))
    with torch.no_grad():
        device = body.v_template.device
        who = photo.betas[None].to(device), photo.joint_eulers[None].to(device)
        vertices = body(*who).vertices[0].cpu().double()  # of head and shoulders
    ours = frame_points(vertices.numpy(), view, PORTRAIT_CAMERA)
    label = portraits.camera_label(photo.camera[None].to(device)).cpu().double()
    seen = project_label(to_metres(vertices)[None], label)[0].numpy()  # 0..1 between the picture's edges
    size = portraits.config.image_size
    theirs = (2 * seen - 1) * size / (size - 1)  # -1..1 between the centres of its first and last pixels
    return photo._replace(placement=_similarity(ours, theirs, photo.placement))


def _similarity(ours: np.ndarray, theirs: np.ndarray, placement: Placement) -> Placement:
    """``placement`` in another frame, where points [N, 2] of its own frame lie at ``theirs``, by least squares."""
    a, b = (points - points.mean(0) for points in (ours, theirs))
    scale = float((a * b).sum() / (a * a).sum())
    shift = theirs.mean(0) - scale * ours.mean(0)
    return Placement(scale * placement.matrix, scale * placement.shift + shift)
