"""The generator: latents, pose, expression and camera in, a portrait out (paper section 3.1, fig. 2).

    rays -> inverse skinning, smoothed by D^p -> D^e -> M -> crossings -> colour and alpha -> compositing

A *person* is a set of flattened manifolds, built once from (z_id, eps); a *frame* needs only where its rays cross them.
"""

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.cameras import PORTRAIT_CAMERA, CameraModel, Rays, cast_rays, sample_depths
from networks.compositing import Frame, composite, square_images
from networks.manifold.generator_config import UPSCALE, GeneratorConfig
from networks.manifold.manifolds import (
    FLAT_HALF_EXTENT,
    Crossings,
    ManifoldPredictor,
    find_crossings,
    orthographic_points,
)
from networks.manifold.maps import composite_maps, texels_together
from networks.manifold.openings import between_rays, redrawn, torn_pixels
from networks.manifold.radiance import RadianceGenerator, RadianceStyle
from networks.manifold.superresolution import ManifoldSuperResolution
from networks.person.body_assets import BodyArrays
from networks.person.body_model import BodyModel, PosedBody
from networks.person.expression_deformation import ExpressionDeformation, ExpressionStyle
from networks.person.pose_deformation import (
    GRID_STRIDE,
    PoseDeformationProcessor,
    apply_volume,
    inverse_lbs_volume,
)
from torch_utils.ops.manifold_composite import MIN_VALIDITY

ID_DIM, NOISE_DIM, EXPRESSION_DIM, BETA_DIM = 80, 80, 64, 10
# Points a network sees at a time without gradients: on a CPU a layer's activations should stay in the cache, on a GPU
# there should be enough of them to fill it. Fewer (2^17) would stay in its cache, at more launches: not measured.
POINTS_PER_CHUNK = {"cpu": 1 << 13, "cuda": 1 << 20}
# Manifolds that U works on at a time without gradients.
MANIFOLDS_PER_CHUNK = {"cpu": 1, "cuda": 8}


class PersonStyle(NamedTuple):
    radiance: RadianceStyle
    superresolution: Tensor  # [B, style]


class ManifoldMaps(NamedTuple):
    """A person: rgb and alpha of the flattened manifolds, in 0..1."""

    low: Tensor  # [B, K, 4, h, w] phi's
    high: Tensor  # [B, K, 4, 4h, 4w] U's


class ManifoldPoints(NamedTuple):
    """Where rays cross the manifolds."""

    canonical: Tensor  # [B, R, K, 3]
    depth: Tensor  # [B, R, K] along the ray, canonical units
    valid: Tensor  # [B, R, K] 0 or 1


def _chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, total)) for i in range(0, total, size))


def _chunk_size(total: int, limits: dict[str, int], device: torch.device, per_item: int = 1) -> int:
    """Items to process at a time; all of them in grad mode, where recorded gradients hold every activation anyway.

    Grad mode alone decides, for inputs may need gradients when weights do not: run a frozen generator in no_grad.
    """
    if torch.is_grad_enabled():
        return total
    return max(1, limits.get(device.type, limits["cuda"]) // per_item)


def upsample_crossings(points: ManifoldPoints, size: int, scale: int = UPSCALE) -> ManifoldPoints:
    """Bilinear upsampling of the crossings of a size x size image (method of the released model at 512^2)."""
    channels = torch.cat([points.canonical, points.depth[..., None], points.valid[..., None]], -1)  # [B, R, K, 5]
    batch, _, count, width = channels.shape
    images = channels.permute(0, 2, 3, 1).reshape(batch, count * width, size, size)
    images = F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=True)
    channels = images.reshape(batch, count, width, -1).permute(0, 3, 1, 2)
    canonical, depth, validity = channels.split([3, 1, 1], -1)
    return ManifoldPoints(canonical, depth.squeeze(-1), (validity.squeeze(-1) > MIN_VALIDITY).to(depth.dtype))


class Generator(nn.Module):
    """G. Stages are methods, in the order of the pipeline, so that each can be checked by itself.

    Args:
        config: sizes.
        body: SMPL's arrays.
        head_shoulder_index: [V'] vertices used in inverse skinning.

    Without gradients (torch.no_grad, torch.inference_mode) everything runs in chunks, in a fraction of the memory.
    """

    # What weights mean, stored beside them (networks.saved_model): a subclass that computes otherwise has a name of
    # its own, so that nothing runs weights by the wrong rules.
    convention: ClassVar[str] = "aniportraitgan"
    config_class: ClassVar[type[GeneratorConfig]] = GeneratorConfig

    mean_frequency: Tensor
    mean_phase: Tensor
    mean_superresolution: Tensor

    def __init__(self, config: GeneratorConfig, body: BodyArrays, head_shoulder_index: Tensor):
        super().__init__()
        self.config = config
        latent_dim = ID_DIM + NOISE_DIM
        levels = torch.linspace(config.first_level, config.last_level, config.num_manifolds)
        self.body = BodyModel(body, head_shoulder_index, to_mean_shape=config.canonical_shape == "mean")
        self.manifolds = ManifoldPredictor(config.manifold_dim, levels, config.manifold_centre)
        self.radiance = RadianceGenerator(latent_dim, config.mapping_dim, config.radiance_dim, config.feature_dim)
        self.superresolution = ManifoldSuperResolution(
            latent_dim, config.mapping_dim, 4 + config.feature_dim,
            config.sr_features, config.sr_blocks, config.sr_growth, config.sr_up_channels,
        )  # fmt: skip
        self.pose_deformation = PoseDeformationProcessor()
        self.expression_deformation = ExpressionDeformation(
            ID_DIM + EXPRESSION_DIM, config.expression_dim, config.expression_mapping_dim or None
        )
        # Means of the styles, for truncation (set_mean_styles).
        style = self.style(torch.zeros(1, ID_DIM), torch.zeros(1, NOISE_DIM), psi=1.0)
        self.register_buffer("mean_frequency", torch.zeros_like(style.radiance.frequency[0]))
        self.register_buffer("mean_phase", torch.zeros_like(style.radiance.phase[0]))
        self.register_buffer("mean_superresolution", torch.zeros_like(style.superresolution[0]))

    # ---- a person ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def set_mean_styles(self, z_id: Tensor, z_noise: Tensor) -> None:
        """Means of the styles over samples z_id [N, 80], z_noise [N, 80]; the method uses N = 10,000."""
        style = self.style(z_id, z_noise, psi=1.0)
        self.mean_frequency.copy_(style.radiance.frequency.mean(0))
        self.mean_phase.copy_(style.radiance.phase.mean(0))
        self.mean_superresolution.copy_(style.superresolution.mean(0))

    def style(self, z_id: Tensor, z_noise: Tensor, *, psi: float) -> PersonStyle:
        """Styles of phi and U, drawn towards their means by truncation psi (1: not at all, 0: the mean person).

        The means, buffers ``mean_*``, are zeros until :meth:`set_mean_styles`, or a checkpoint, gives their values.
        """
        latent = torch.cat([z_id, z_noise], -1)
        radiance, superresolution = self.radiance.style(latent), self.superresolution.style(latent)
        if psi == 1.0:
            return PersonStyle(radiance, superresolution)
        return PersonStyle(
            RadianceStyle(
                torch.lerp(self.mean_frequency, radiance.frequency, psi),
                torch.lerp(self.mean_phase, radiance.phase, psi),
            ),
            torch.lerp(self.mean_superresolution, superresolution, psi),
        )

    def flat_crossings(
        self, resolution: int, half_extent: float = FLAT_HALF_EXTENT, *, either_direction: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Manifolds seen by the orthographic view: canonical points [h*w, K, 3] and validity [h*w, K].

        Frames see them where s falls along a ray; radiance was flattened where it passes a level ``either_direction``.
        """
        points = orthographic_points(resolution, half_extent, device=self.manifolds.levels.device)  # [R, S, 3]
        size = _chunk_size(len(points), POINTS_PER_CHUNK, points.device, points.shape[1])
        results = []
        for part in _chunks(len(points), size):
            crossings = find_crossings(
                self.manifolds(points[None, part]), self.manifolds.levels, either_direction=either_direction
            )
            results.append((crossings.interpolate(points[None, part])[0], crossings.valid[0]))
        canonical, valid = (torch.cat(parts) for parts in zip(*results, strict=True))
        return canonical, valid.to(canonical.dtype)

    def flat_radiance(self, style: RadianceStyle) -> Tensor:
        """phi on the flattened manifolds: [rgb, alpha, feature] maps [B, K, 4 + F, h, w]."""
        size, count = self.config.map_scale * self.config.lowres_size, self.config.num_manifolds
        canonical, valid = self.flat_crossings(size)
        canonical, valid = canonical.transpose(0, 1).reshape(-1, 3), valid.T.reshape(-1)  # [K*R, 3], [K*R]
        batch = len(style.frequency)
        chunk = _chunk_size(len(canonical), POINTS_PER_CHUNK, canonical.device)
        parts = []
        for part in _chunks(len(canonical), chunk):
            sample = self.radiance(canonical[part].expand(batch, -1, -1), style)
            parts.append(torch.cat([sample.rgb, (sample.alpha * valid[part])[..., None], sample.feature], -1))
        maps = torch.cat(parts, 1)  # [B, K*R, 4 + F]
        return maps.reshape(batch, count, size, size, -1).permute(0, 1, 4, 2, 3)

    def super_resolve(self, maps: Tensor, style: Tensor) -> Tensor:
        """U on [B, K, 4 + F, h, w] -> [B, K, 4, 4h, 4w]; without U phi's own maps, for a look-up interpolates them."""
        if not self.config.superresolution:
            return maps[:, :, :4]
        chunk = _chunk_size(maps.shape[1], MANIFOLDS_PER_CHUNK, maps.device)
        return torch.cat([self.superresolution(part, style) for part in maps.split(chunk, 1)], 1)

    def build_manifolds(self, style: PersonStyle) -> ManifoldMaps:
        """The flattened manifolds of a person."""
        maps = self.flat_radiance(style.radiance)
        high = self.super_resolve(maps, style.superresolution)
        return ManifoldMaps(texels_together(maps[:, :, :4]), texels_together(high))

    # ---- a frame ----------------------------------------------------------------------------------------------

    def inverse_skinning(self, points: Tensor, body: PosedBody) -> Tensor:
        """T of the vertices nearest to posed-space samples [B, H, W, S, 3] -> [B, 12, S, H, W], for D^p half a side.

        The last row of a transform is (0, 0, 0, 1) before D^p and behind it.
        """
        stride = GRID_STRIDE if self.config.pose == "smoothed" else 1
        rows = body.inverse_transforms[:, :, :3]
        return inverse_lbs_volume(points[:, ::stride, ::stride, ::stride], body.vertices, rows)

    def neutral_pose_points(self, points: Tensor, betas: Tensor, joint_eulers: Tensor) -> Tensor:
        """Carry posed-space samples [B, H, W, S, 3] to neutral pose: inverse skinning smoothed by D^p."""
        if self.config.pose == "none":
            return points
        volume = self.inverse_skinning(points, self.body(betas, joint_eulers))
        return apply_volume(self.pose_deformation(volume) if self.config.pose == "smoothed" else volume, points)

    def expression_displacement(self, points: Tensor, style: ExpressionStyle) -> Tensor:
        """D^e at pose-neutral points [B, N, 3] -> [B, N, 3]."""
        return self.expression_deformation(points, style) if self.config.expression else torch.zeros_like(points)

    def canonical_points(self, neutral: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
        """Where M is evaluated and where radiance is looked up: one and the same point (eq. 6).

        Separate results, because weights trained with other conventions exist.
        """
        canonical = neutral + displacement
        return canonical, canonical

    def sort_distances(self, canonical: Tensor, depth: Tensor, camera: Tensor, model: CameraModel) -> Tensor:
        """What crossings [B, R, K] are sorted by before compositing: the depth along the ray."""
        return depth

    def find_manifold_points(self, neutral: Tensor, z_id: Tensor, z_exp: Tensor, model: CameraModel) -> ManifoldPoints:
        """D^e, M and the crossing search along rays whose samples are in neutral pose [B, R, S, 3]."""
        samples = self.config.num_fine_samples
        depths = sample_depths(model, samples, dtype=neutral.dtype, device=neutral.device)
        style = self.expression_deformation.style(z_id, z_exp)
        batch, num_rays = neutral.shape[:2]
        chunk = _chunk_size(num_rays, POINTS_PER_CHUNK, neutral.device, samples * batch)
        results = []
        for rays in _chunks(num_rays, chunk):
            points = neutral[:, rays].transpose(2, 3).flatten(0, 1)  # [B r, 3, S]
            points = F.interpolate(points, size=samples, mode="linear", align_corners=True)
            points = points.transpose(1, 2).reshape(batch, -1, 3)
            searched, looked_up = self.canonical_points(points, self.expression_displacement(points, style))
            s = self.manifolds(searched).unflatten(1, (-1, samples))  # [B, r, S]
            crossings = find_crossings(s, self.manifolds.levels)
            canonical = crossings.interpolate(looked_up.unflatten(1, (-1, samples)))
            results.append((canonical, self._crossing_depth(crossings, depths), crossings.valid.to(s.dtype)))
        return ManifoldPoints(*(torch.cat(parts, 1) for parts in zip(*results, strict=True)))

    @staticmethod
    def _crossing_depth(crossings: Crossings, depths: Tensor) -> Tensor:
        """Depth along the ray [B, R, K] of crossings between samples at ``depths`` [S]."""
        near, far = depths[crossings.index], depths[crossings.index + 1]
        return near + (far - near) * crossings.weight

    def trace(
        self, z_id: Tensor, z_exp: Tensor, betas: Tensor, joint_eulers: Tensor, rays: Rays, model: CameraModel
    ) -> ManifoldPoints:
        """Everything between the rays of a square image and their crossings."""
        return self.find_manifold_points(self.neutral_rays(betas, joint_eulers, rays, model), z_id, z_exp, model)

    def neutral_rays(self, betas: Tensor, joint_eulers: Tensor, rays: Rays, model: CameraModel) -> Tensor:
        """Samples along the rays of a square image, carried to neutral pose: [B, R, S, 3]."""
        depths = sample_depths(model, self.config.num_samples, dtype=betas.dtype, device=betas.device)
        points = rays.at(depths)  # [B, R, S, 3]
        size = round(points.shape[1] ** 0.5)
        return self.neutral_pose_points(points.unflatten(1, (size, size)), betas, joint_eulers).flatten(1, 2)

    def shade(
        self, maps: Tensor, points: ManifoldPoints, camera: Tensor, model: CameraModel, upscale: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look the crossings of a square image up in maps [B, K, 4, h, w] and composite them, as :meth:`composite`.

        With ``upscale`` pixels a ray, each way, it is :func:`upsample_crossings` as well, without their memory.
        """
        order = self.sort_distances(points.canonical, points.depth, camera, model)
        return square_images(composite_maps(maps, *points, order, upscale=upscale))

    def composite(
        self, rgba: Tensor, points: ManifoldPoints, camera: Tensor, model: CameraModel
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Composite the radiance [B, R, K, 4] at the crossings of a square image.

        Returns:
            image [B, 3, H, W] in -1..1, alpha [B, H, W], depth [B, H, W].
        """
        rgba = torch.cat([rgba[..., :3], (rgba[..., 3] * points.valid)[..., None]], -1)
        order = self.sort_distances(points.canonical, points.depth, camera, model)
        return square_images(composite(rgba, order, points.depth))

    def render(
        self, maps: ManifoldMaps, z_id: Tensor, z_exp: Tensor, betas: Tensor, joint_eulers: Tensor, camera: Tensor,
        model: CameraModel = PORTRAIT_CAMERA,
    ) -> Frame:  # fmt: skip
        """One image of each person.

        Args:
            maps: from :meth:`build_manifolds`.
            z_id: [B, 80]; z_exp: [B, 64]; betas: [B, 10].
            joint_eulers: [B, 6, 3] radians, joints 12..17.
            camera: [B, 2] (pitch, yaw) radians.
            model: the camera's intrinsics and orbit.
        """
        rays = cast_rays(camera, model, self.config.lowres_size)
        return self.frame(maps, self.neutral_rays(betas, joint_eulers, rays, model), z_id, z_exp, camera, model)

    def frame(
        self, maps: ManifoldMaps, neutral: Tensor, z_id: Tensor, z_exp: Tensor, camera: Tensor, model: CameraModel
    ) -> Frame:
        """:meth:`render` along rays whose samples are in neutral pose already, [B, R, S, 3]."""
        size = self.config.lowres_size
        points = self.find_manifold_points(neutral, z_id, z_exp, model)
        image_lr, _, _ = self.shade(maps.low, points, camera, model)
        image, alpha, depth = self.shade(maps.high, upsample_crossings(points, size), camera, model)
        frame = Frame(image, image_lr, depth, alpha)
        if not self.config.opens:
            return frame
        pixels = torn_pixels(points.canonical, points.valid, size)
        if not pixels.numel():
            return frame
        points = self.find_manifold_points(between_rays(neutral, pixels, size), z_id, z_exp, model)
        order = self.sort_distances(points.canonical, points.depth, camera, model)
        return redrawn(frame, pixels, composite_maps(maps.high, *points, order))
