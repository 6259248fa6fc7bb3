"""The tri-grid generator: a person as three stacks of planes, rendered from any side (3DPortraitGAN; Wu et al. 2023).

Its 3D content is canonical: space about a posed body is brought to the body at rest before the planes are read.
Parameters have the released model's names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from networks.cameras import Rays
from networks.person.pose_predictors import PosePredictor
from networks.stylegan_layers import Noise, SynthesisNetwork, ToRGB
from networks.trigrid import camera_labels as labels
from networks.trigrid.config import TriGridConfig
from networks.trigrid.mapping import ConditionedMapping, truncate
from networks.trigrid.planes import Decoder, as_planes, read_planes
from networks.trigrid.superresolution import SuperResolution, resized
from networks.trigrid.volume import CUT_AWAY, Marched, importance_depths, in_order, march, stratified_depths
from torch_utils.device import full_precision

Deformation = Callable[[Tensor], Tensor]  # points [B, R, S, 3] about the posed body -> about the body at rest


class Draws(NamedTuple):
    """Random numbers of a rendering, in 0..1."""

    jitter: Tensor  # [B, R, S] of evenly spread depths
    importance: Tensor  # [B, R, N] of those where they matter


class Pictures(NamedTuple):
    """What a camera sees."""

    image: Tensor  # [B, 3, H, H] in about -1..1
    raw: Tensor  # [B, 3, R, R] before the super-resolution
    mask: Tensor  # [B, 1, R, R] the person's share of every pixel
    depth: Tensor  # [B, 1, R, R] along the rays, metres
    background: Tensor  # [B, 3, R, R] in about -1..1


class Background(NamedTuple):
    """What is behind a person."""

    features: Tensor  # [B, C, H, H]
    w: Tensor  # [B, style_dim], of its colours


class Backbone(nn.Module):
    """From noise to planes."""

    def __init__(self, config: TriGridConfig):
        super().__init__()
        self.mapping = ConditionedMapping(config.latent_dim, labels.LABEL_SIZE + labels.POSE_SIZE, config.style_dim)
        self.synthesis = SynthesisNetwork(
            config.style_dim, config.plane_size, 3 * config.plane_features * config.plane_depth,
            channel_base=config.channel_base, max_channels=config.max_channels,
        )  # fmt: skip


class TriGridGenerator(nn.Module):
    """See the module's docstring.

    Args:
        config: sizes.
    """

    def __init__(self, config: TriGridConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.decoder = Decoder(config.plane_features, config.colour_features)
        self.torgb = ToRGB(config.colour_features, 3, config.style_dim)
        self.bcg_synthesis = SynthesisNetwork(
            config.style_dim, config.background_size, config.colour_features,
            channel_base=config.channel_base // 2, max_channels=config.max_channels,
        )  # fmt: skip
        self.superresolution = SuperResolution(
            config.colour_features, config.style_dim, config.superresolution_input, config.image_size,
            config.superresolution_channels,
        )  # fmt: skip
        self.pose_branch = PosePredictor(config.latent_dim + labels.LABEL_SIZE, (128, 32))

    # ---- Latents ----------------------------------------------------------------------------------------------------

    def predict_pose(self, z: Tensor, camera: Tensor) -> Tensor:
        """E_G: the pose [B, 6] that people z [B, latent_dim] hold before cameras [B, 25] (paper section 3.3)."""
        left = labels.is_left(camera)[:, None]
        mirrored = torch.where(left, labels.mirror_label(camera), camera)
        pose = self.pose_branch(torch.cat([z, mirrored], -1))
        return torch.where(left, labels.mirror_pose(pose), pose)

    def style(self, z: Tensor, camera: Tensor, pose: Tensor, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """ws [B, L, style_dim] of z [B, latent_dim], conditioned on a camera [B, 25] and a pose [B, 6].

        Args:
            psi: truncation: 1 none, 0 the mean.
            cutoff: the first so many layers are truncated; all by default.
        """
        w = self.backbone.mapping(z, torch.cat([camera, pose], -1))
        ws = w[:, None].expand(-1, self.backbone.synthesis.num_ws, -1)
        return truncate(ws, self.backbone.mapping.w_avg, psi, cutoff)

    # ---- A person ---------------------------------------------------------------------------------------------------

    def planes(self, ws: Tensor, noise: Noise = "const") -> Tensor:
        """The tri-grid [B, 3, F, D, H, W] of ws [B, L, style_dim]."""
        config = self.config
        return as_planes(self.backbone.synthesis(ws, noise), config.plane_features, config.plane_depth)

    def background(self, ws: Tensor, noise: Noise = "const") -> Background:
        """What is behind the people of ws [B, L, style_dim], or behind others."""
        return Background(self.bcg_synthesis(ws[:, : self.bcg_synthesis.num_ws], noise), ws[:, -1])

    def radiance(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Raw density [B, ...] and colour features [B, ..., C] at points [B, ..., 3] about the body at rest."""
        shape = points.shape[:-1]
        density, colour = self.decoder(read_planes(planes, points.flatten(1, -2), self.config.box))
        density = density.view(shape)
        edge = self.config.box / 2 - self.config.crop
        outside = (points[..., 0].abs() > edge) | (points[..., 2].abs() > edge)
        return torch.where(outside, CUT_AWAY, density), colour.view(*shape, -1)

    # ---- Frames -----------------------------------------------------------------------------------------------------

    @full_precision()
    def march(
        self, planes: Tensor, rays: Rays, deform: Deformation | None, draws: Draws | None = None,
        *, density_noise: float = 0.0, depths: tuple[float, float] | None = None,
    ) -> Marched:  # fmt: skip
        """Render features along rays, coarse and fine samples together.

        Args:
            planes: of :meth:`planes`.
            rays: [B, R].
            deform: of the pose; None: the body is at rest.
            draws: None: the middle of every number's range, the same for every frame.
            density_noise: standard deviation of what is added to raw densities.
            depths: near and far; the config's by default.
        """
        config = self.config
        batch, count = rays.directions.shape[:2]
        if draws is None:
            like = rays.directions
            jitter = like.new_full((batch, count, config.samples), 0.5)
            spread = (torch.arange(config.importance_samples, device=like.device) + 0.5) / config.importance_samples
            draws = Draws(jitter, spread.to(like.dtype).expand(batch, count, -1))

        def sampled(depths: Tensor) -> tuple[Tensor, Tensor]:
            points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
            density, colour = self.radiance(planes, points if deform is None else deform(points))
            return density + density_noise * torch.randn_like(density) if density_noise else density, colour

        coarse = stratified_depths(*(depths or (config.near, config.far)), draws.jitter)
        density, colour = sampled(coarse)
        fine = importance_depths(coarse, march(colour, density, coarse).weights, draws.importance)
        fine_density, fine_colour = sampled(fine)
        both = torch.cat([coarse, fine], -1)
        order = both.argsort(-1)
        parts = ((colour, fine_colour), (density, fine_density))
        colour, density = (in_order(order, torch.cat(pair, 2)) for pair in parts)
        return march(colour, density, in_order(order, both))

    def render(
        self, ws: Tensor, planes: Tensor, background: Background, camera: Tensor, deform: Deformation | None = None,
        *, raw_size: int | None = None, draws: Draws | None = None, noise: Noise = "none", density_noise: float = 0.0,
        depths: tuple[float, float] | None = None,
    ) -> Pictures:  # fmt: skip
        """Pictures of people.

        Args:
            ws, planes: of the people.
            background: behind them.
            camera: labels [B, 25].
            deform: of their poses.
            raw_size: pixels a side of the rays; the config's by default.
            draws, density_noise, depths: see :meth:`march`.
            noise: of the super-resolution.
        """
        size = raw_size or self.config.raw_size
        rays = labels.label_rays(camera, size)
        marched = self.march(planes, rays, deform, draws, density_noise=density_noise, depths=depths)

        def as_picture(values: Tensor) -> Tensor:
            return values.transpose(1, 2).unflatten(-1, (size, size))

        behind = resized(background.features, size)
        features = as_picture(marched.colour) + (1 - as_picture(marched.alpha[..., None])) * behind
        raw = self.torgb(features, ws[:, -1])
        return Pictures(
            image=self.superresolution(features, raw, ws[:, -1], noise),
            raw=raw,
            mask=as_picture(marched.mask[..., None]),
            depth=as_picture(marched.depth[..., None]),
            background=self.torgb(behind, background.w),
        )
