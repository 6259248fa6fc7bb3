"""Somebody of a pipeline, ready to be drawn."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from inference.arguments import FRONTAL_CAMERA, Array, Quality, checked_controls
from inference.fast.body import FastBody
from inference.fast.renderer import FastPerson
from inference.portable.avatar import LayeredAvatar
from inference.portable.build import AvatarOptions, build_avatar
from inference.portable.renderer import LayersRenderer
from inference.portable.skinning import SmoothedSkinning
from networks.compositing import Frame
from networks.manifold.generator import PersonStyle
from networks.person.priors import Latents
from torch_utils.ops.point_network import cpu_has_bf16

if TYPE_CHECKING:  # which builds on this module
    from inference.pipeline import PortraitPipeline


class Person:
    """One identity with its flattened manifolds; made by :meth:`PortraitPipeline.person`."""

    def __init__(self, pipe: PortraitPipeline, latents: Latents, psi: float, style: PersonStyle | None = None):
        self.latents = latents  # [1, .] each
        self._pipe, self._psi = pipe, psi
        with torch.inference_mode():
            style = pipe.generator.style(latents.z_id, latents.z_noise, psi=psi) if style is None else style
            with rounded_products(pipe.device):
                self.manifolds = pipe.generator.build_manifolds(style)

    @functools.cached_property
    def _fast(self) -> FastPerson:
        return self._pipe.fast_renderer.person(self.manifolds, self.latents.z_id, self.latents.betas)

    @functools.cached_property
    def _layers(self) -> LayersRenderer:
        generator, who = self._pipe.generator, self.latents
        smoothed = generator.config.pose == "smoothed"
        skinning = SmoothedSkinning(generator, FastBody(generator.body, who.betas)) if smoothed else None
        return LayersRenderer(self.avatar(), generator.config.image_size, who.betas.device, skinning)

    def avatar(self, options: AvatarOptions | None = None, metadata: Mapping[str, Any] | None = None) -> LayeredAvatar:
        """This person as layers of mesh with a skeleton and blendshapes, which need no network any more.

        Args:
            options: how closely it follows the person; the defaults lose little that is seen.
            metadata: plain data to go along, beside what the model says about itself.

        Raises:
            UserError: no layer can be seen, or the maps are not finite.
        """
        pipe, maps = self._pipe, self.manifolds.high[0]
        about = {"psi": self._psi, "model": pipe.metadata.get("what"), **(metadata or {})}
        about |= {"about": "likeness of a person in a photo"} if "photo" in pipe.metadata else {}
        options = options or AvatarOptions()
        expressions = pipe.face_model, pipe.priors
        return build_avatar(pipe.generator, pipe.surfaces, maps, self.latents, *expressions, options, about)

    @torch.inference_mode()
    def render(
        self,
        expression: Array | None = None,
        joint_eulers: Array | None = None,
        camera: Array = FRONTAL_CAMERA,
        quality: Quality = "exact",
    ) -> Frame:
        """One frame.

        Args:
            expression: [64] coefficients of the checkpoint's face model (``PortraitPipeline.face_model``); neutral by
                default. Of "arkit" the first 52 are the facial actions, 0..1: ``networks.person.expressions``.
            joint_eulers: [6, 3] Euler angles of neck, left collar, right collar, head, left shoulder, right shoulder
                (R = Rz(e0) Ry(e1) Rx(e2)), radians; the mean pose by default.
            camera: (pitch, yaw) radians; (pi/2, pi/2) is frontal.
            quality: ``exact`` is the method as it is; ``fast`` interpolates what is smooth in it (see
                inference.fast.renderer), and the pipeline's first fast frame takes a few seconds longer; ``layers``
                draws the person's :meth:`avatar`, which the first one makes, in seconds.

        Returns:
            Frame without the batch dimension: image [3, H, W] in -1..1, image_lr [3, h, w], depth and alpha [H, W].

        Raises:
            ValueError: a wrong shape, NaN or infinity, degrees where radians are expected; another quality.
        """
        # Other frames take their numbers from the CPU: what depends on them alone is prepared there.
        device = self.latents.betas.device if quality == "exact" else torch.device("cpu")
        z_exp, eulers, view = checked_controls(expression, joint_eulers, camera, quality, device)
        if quality == "layers":
            return self._layers.render(z_exp, eulers, view)
        if quality == "fast":
            frame = self._pipe.fast_renderer.render(self._fast, z_exp[None], eulers[None], view[None])
        else:
            who = self.latents
            frame = self._pipe.generator.render(
                self.manifolds, who.z_id, z_exp[None], who.betas, eulers[None], view[None]
            )
        return Frame(*(part[0] for part in frame))


def rounded_products(device: torch.device) -> torch.autocast:
    """For phi and U: bfloat16 on a CPU that multiplies in it.

    The demo's maps, and those of a U that has learned, are then 53 dB or more from those of float32
    (``tests.benchmarks.bm_person``); 8 bits a colour are 59.
    """
    return torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu" and cpu_has_bf16())
