"""A photo as a person of manifolds: eps, then phi's and U's weights, and styles if asked for.

Camera, pose, expression and identity are the tracked ones and stay, so rays cross the manifolds where they always do:
crossings are found once, and a step only asks phi there. Every step looks at some rays from all over the photo, for
colours and opacity, and at a square patch of it, near or far, as patch discriminators do (Schwarz et al. 2020, GRAF),
for a perceptual distance as well.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from inference.inversion.hidden import Hidden, hidden_places, shown_places
from inference.inversion.likeness import Distance
from inference.inversion.patches import patch, scattered
from inference.inversion.stages import Stage, Steps, descend
from inference.person import rounded_products
from inference.pipeline import PortraitPipeline
from networks.cameras import FRONTAL, PORTRAIT_CAMERA, cast_rays
from networks.compositing import Composite, composite
from networks.manifold.generator import UPSCALE, Generator, ManifoldPoints, PersonStyle, upsample_crossings
from networks.manifold.maps import lookup_manifolds
from networks.manifold.openings import between_rays, torn_pixels
from networks.manifold.radiance import RadianceStyle
from networks.manifold.shading import radiance_at
from networks.person.fitting.photo import TrackedPhoto
from networks.saved_model import SavedModel

# Styles change with the weights, too. Before them, they cost likeness from elsewhere (docs/inversion.md).
STEPS = Steps(latents=60, styles=0, weights=160)
SCATTERED = 1024  # rays from all over
NEAR = 1.5  # pixels of the portrait between two of a patch, at the nearest
LATENT_RATE, STYLE_RATE, PIVOT_RATE, SINE_RATE, HEAD_RATE, MAP_RATE = 0.1, 0.01, 0.003, 1e-4, 1e-3, 2e-4
OPACITY, PERCEPTUAL, PRIOR = 0.5, 0.15, 1e-3  # weights of the losses, beside colours
HIDDEN = 1.0  # and of radiance at points that the photo does not show
ASIDE = (-0.6, 0.6)  # radians of yaw from where they are seen


class Seen(NamedTuple):
    """What the photo says of rays."""

    points: ManifoldPoints  # [1, R, K, ...]
    order: Tensor  # [1, R, K] what to sort by
    colour: Tensor  # [1, R, 3] in -1..1
    mask: Tensor  # [1, R] the person's share

    def rays(self, chosen: Tensor) -> Seen:
        """Of the rays ``chosen`` [r]."""
        points = ManifoldPoints(*(part[:, chosen] for part in self.points))
        return Seen(points, self.order[:, chosen], self.colour[:, chosen], self.mask[:, chosen])


class ManifoldInversion:
    """See the module's docstring.

    Args:
        pipe: the model; it stays as it is.
        photo: tracked.
        distance: perceptual, or None.
        seed: of the patches.
    """

    steps: ClassVar[Steps] = STEPS

    def __init__(self, pipe: PortraitPipeline, photo: TrackedPhoto, distance: Distance | None, seed: int = 0) -> None:
        self.pipe, self.photo, self.distance = pipe, photo, distance
        self.generator: Generator = copy.deepcopy(pipe.generator)
        self._random = torch.Generator().manual_seed(seed)
        device = pipe.device
        who = (photo.z_id, photo.expression, photo.betas, photo.joint_eulers, photo.camera)
        self.z_id, self.z_exp, self.betas, self.eulers, self.camera = (part[None].to(device) for part in who)
        neutral, size = self._samples(self.eulers, self.camera), self.generator.config.lowres_size
        low = self._crossings(neutral, self.z_exp)
        self.low = self._seen(low, size)
        self.high = self._seen(self._pixels(low, neutral), UPSCALE * size)

    @torch.no_grad()
    def _samples(self, eulers: Tensor, camera: Tensor) -> Tensor:
        """Along rays, in neutral pose [1, R, S, 3]."""
        rays = cast_rays(camera, PORTRAIT_CAMERA, self.generator.config.lowres_size)
        return self.generator.neutral_rays(self.betas, eulers, rays, PORTRAIT_CAMERA)

    @torch.no_grad()
    def _crossings(self, neutral: Tensor, z_exp: Tensor) -> ManifoldPoints:
        return self.generator.find_manifold_points(neutral, self.z_id, z_exp, PORTRAIT_CAMERA)

    def _pixels(self, low: ManifoldPoints, neutral: Tensor) -> ManifoldPoints:
        """Of the photo's pixels, out of those of its rays, as frames have them: lids and lips have their own."""
        config = self.generator.config
        points = upsample_crossings(low, config.lowres_size)
        torn = torn_pixels(low.canonical, low.valid, config.lowres_size) if config.opens else None
        if torn is None or not torn.numel():
            return points
        own = self._crossings(between_rays(neutral, torn, config.lowres_size), self.z_exp)
        return ManifoldPoints(*(old.index_copy(1, torn[0], new) for old, new in zip(points, own, strict=True)))

    def _seen(self, points: ManifoldPoints, size: int) -> Seen:
        image, mask = (part.to(self.pipe.device) for part in self.photo.picture(size))
        order = self.generator.sort_distances(points.canonical, points.depth, self.camera, PORTRAIT_CAMERA)
        return Seen(points, order, image.flatten(1).T[None], mask.flatten()[None])

    # ---- stages -----------------------------------------------------------------------------------------------------

    def stages(self, steps: Steps = STEPS) -> Iterator[Stage]:
        """The photo as it was tracked, and after every stage.

        Raises:
            UserError: an optimisation fails.
        """
        generator = self.generator
        z_noise = torch.zeros(1, 80, device=self.pipe.device)
        yield self._stage("tracked", z_noise, generator.style(self.z_id, z_noise, psi=1.0))
        target = self.low if generator.config.superresolution else self.high
        if steps.latents:
            descend("latents", [(LATENT_RATE, [z_noise])], steps.latents, lambda _: self._latent_loss(target, z_noise))
            yield self._stage("latents", z_noise, generator.style(self.z_id, z_noise, psi=1.0))
        style = generator.style(self.z_id, z_noise, psi=1.0)
        style = PersonStyle(RadianceStyle(*(part.clone() for part in style.radiance)), style.superresolution.clone())
        if steps.styles:
            unseen = self._hidden(style.radiance)
            groups = [(STYLE_RATE, list(style.radiance))]
            descend("styles", groups, steps.styles, lambda _: self._loss_of_all(target, style.radiance, unseen))
            if generator.config.superresolution:
                self._descend_u("styles of U", style, [(STYLE_RATE, [style.superresolution])], steps.styles)
            yield self._stage("styles", z_noise, style)
        if steps.weights:
            self._tune(target, style, steps.weights)
            yield self._stage("weights", z_noise, style)

    def _stage(self, name: str, z_noise: Tensor, style: PersonStyle) -> Stage:
        latents = {"z_id": self.z_id, "z_noise": z_noise, "betas": self.betas}
        styles = {**style.radiance._asdict(), "superresolution": style.superresolution}
        person = {name: part.detach().clone() for name, part in (latents | styles).items()}
        model = SavedModel(copy.deepcopy(self.generator), self.pipe.priors, dict(self.pipe.metadata), person)
        return Stage(name, model)

    def _latent_loss(self, target: Seen, z_noise: Tensor) -> Tensor:
        style = self.generator.radiance.style(torch.cat([self.z_id, z_noise], -1))
        return self._loss(target, style) + PRIOR * z_noise.square().mean()

    def _tune(self, target: Seen, style: PersonStyle, steps: int) -> None:
        """Weights of phi, and of U, about the styles (the pivot); what the photo does not show is held where it was."""
        phi = self.generator.radiance
        sines = [weight for layer in (*phi.layers, phi.colour_layer) for weight in layer.parameters()]
        heads = [weight for heads in (phi.to_rgb, phi.to_sigma) for weight in heads.parameters()]
        unseen = self._hidden(style.radiance)._replace(colours=True)
        groups = [(PIVOT_RATE, list(style.radiance)), (SINE_RATE, sines), (HEAD_RATE, heads)]
        descend("weights", groups, steps, lambda _: self._loss_of_all(target, style.radiance, unseen))
        if self.generator.config.superresolution:
            weights = [w for n, w in self.generator.superresolution.named_parameters() if not n.startswith("mapping.")]
            self._descend_u("weights of U", style, [(MAP_RATE, weights)], steps)

    @torch.no_grad()
    def _hidden(self, style: RadianceStyle) -> Hidden:
        """What views from either side, at rest, would see and the photo does not."""
        still, eulers = torch.zeros_like(self.z_exp), torch.zeros_like(self.eulers)
        cameras = [self.camera.new_tensor([[FRONTAL, FRONTAL + yaw]]) for yaw in ASIDE]
        views = [self._crossings(self._samples(eulers, camera), still) for camera in cameras]
        crossed = torch.cat([view.canonical[view.valid > 0] for view in views])
        places, twin = hidden_places(crossed, self._shown(style))
        return Hidden(places, twin, self._radiance_of(places, style))

    def _shown(self, style: RadianceStyle) -> Tensor:
        """Crossings [N, 3] of the photo's rays, from the camera to the surface."""
        points, order, _, _ = self.low
        pixels = _pixels_of(self._radiance(points, style), points, order)
        surface = torch.where(pixels.alpha > 0.5, pixels.depth, torch.inf)
        depth = torch.where(points.valid > 0, points.depth, torch.inf)
        return shown_places(points.canonical[0], depth[0], surface[0])

    def _radiance_of(self, places: Tensor, style: RadianceStyle) -> Tensor:
        """Of points [N, 3] of canonical space: [N, 4]."""
        there = torch.ones_like(places[None, :, None, 0])
        return self._radiance(ManifoldPoints(places[None, :, None], there, there), style)[0, :, 0]

    def _descend_u(self, name: str, style: PersonStyle, groups: list, steps: int) -> None:
        """Optimise what U makes of phi's maps, which stay, in the portrait's full size."""
        with torch.no_grad():
            maps = self.generator.flat_radiance(style.radiance).float()

        def loss(_: int) -> Tensor:
            parts = (
                checkpoint(self.generator.superresolution, part, style.superresolution, use_reentrant=False)
                for part in maps.split(1, 1)
            )
            high = torch.cat(list(parts), 1)
            seen = self._chosen(self.high)
            return self._misfit(lookup_manifolds(high, seen.points.canonical), seen)

        descend(name, groups, steps, loss)

    # ---- losses -----------------------------------------------------------------------------------------------------

    def _loss(self, target: Seen, style: RadianceStyle) -> Tensor:
        """Of phi."""
        seen = self._chosen(target)
        return self._misfit(self._radiance(seen.points, style), seen)

    def _loss_of_all(self, target: Seen, style: RadianceStyle, hidden: Hidden) -> Tensor:
        """Of what the photo shows and of what it does not."""
        shown = self._loss(target, style)
        return shown + HIDDEN * hidden.loss(partial(self._radiance_of, style=style), self._random)

    def _radiance(self, points: ManifoldPoints, style: RadianceStyle) -> Tensor:
        """[1, R, K, 4]."""
        with rounded_products(self.pipe.device):
            return radiance_at(self.generator.radiance, points, self.generator.radiance.styled(style))

    def _chosen(self, target: Seen) -> Seen:
        """Rays of a square picture: a patch, then others from all over."""
        size = math.isqrt(target.mask.shape[1])
        others = scattered(size, SCATTERED, self._random)
        return target.rays(torch.cat([patch(size, self._random, NEAR), others]).to(target.mask.device))

    def _misfit(self, rgba: Tensor, seen: Seen) -> Tensor:
        """How far radiance [1, R, K, 4] at the crossings of a patch and others is from what is seen there."""
        pixels = _pixels_of(rgba, seen.points, seen.order)
        colour = 2 * pixels.rgb - 1
        loss = (colour - seen.colour).abs().mean() + OPACITY * (pixels.alpha - seen.mask).abs().mean()
        if self.distance is None:
            return loss
        count = seen.mask.shape[1] - SCATTERED
        size = math.isqrt(count)
        pictures = (part[:, :count].transpose(1, 2).unflatten(2, (size, size)) for part in (colour, seen.colour))
        return loss + PERCEPTUAL * self.distance(*pictures).mean()


def _pixels_of(rgba: Tensor, points: ManifoldPoints, order: Tensor) -> Composite:
    """Of radiance [1, R, K, 4] at crossings."""
    return composite(torch.cat([rgba[..., :3], (rgba[..., 3] * points.valid)[..., None]], -1), order, points.depth)
