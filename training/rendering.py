"""Pictures that gradients flow through (paper section 3.2).

Stage 1 evaluates phi where rays cross the manifolds; stage 2 looks crossings up in the maps that U made. Either way the
portrait camera and the face camera are two renders of one person. What computes positions does so in true single
precision, by itself (``torch_utils.device.full_precision``): bfloat16 would round them to a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, CameraModel, Rays, cast_rays, sample_depths
from networks.manifold.generator import UPSCALE, Generator, ManifoldMaps, ManifoldPoints, PersonStyle
from networks.manifold.radiance import RadianceStyle
from networks.manifold.shading import radiance_at
from networks.person.body_model import HEAD, PosedBody
from networks.person.pose_deformation import apply_volume
from training.sampling import Inputs


class View(NamedTuple):
    """What one camera sees of every person, and what the losses want to know of the way there."""

    image: Tensor  # [B, 3, H, W] in -1..1, white background
    neutral: Tensor  # [B, R, S, 3] samples of the rays in neutral pose
    transforms: Tensor | None  # [B, 12, S/2, h/2, w/2] T, D^p's input; None where D^p takes no part
    smoothed: Tensor | None  # [B, 12, S, h, w] D^p(T)
    alpha: Tensor  # [B, H, W] in 0..1
    depth: Tensor  # [B, H, W] along the ray, canonical units; 0 where alpha is 0
    image_lr: Tensor | None = None  # [B, 3, h, w] stage 2: from phi's maps
    opacity: Tensor | None = None  # [B, R, K] in 0..1, stage 1: 0 where a ray misses a manifold


class Camera(NamedTuple):
    """A view's cameras."""

    angles: Tensor  # [B, 2] (pitch, yaw)
    model: CameraModel
    frame: Tensor | None  # [B, 4, 4] what the camera rides on

    def rays(self, size: int) -> Rays:
        """Through the pixels of size x size images."""
        return cast_rays(self.angles, self.model, size, self.frame)


def head_frame(generator: Generator, betas: Tensor, joint_eulers: Tensor) -> Tensor:
    """The posed head joint's rigid transform [B, 4, 4], canonical units; the identity for a generator without pose."""
    if generator.config.pose == "none":
        return torch.eye(4, device=betas.device).expand(len(betas), 4, 4)
    return generator.body.joint_transforms(betas, joint_eulers)[:, HEAD]


def pose_people(generator: Generator, inputs: Inputs) -> PosedBody | None:
    """Everybody's body, for all views; None for a generator without pose."""
    if generator.config.pose == "none":
        return None
    with torch.no_grad():  # nothing of the body is learned
        return generator.body(inputs.betas, inputs.joint_eulers)


def view_camera(generator: Generator, inputs: Inputs, view: str, body: PosedBody | None = None) -> Camera:
    """The cameras of the view ``portrait`` or ``face``; the latter ride on the posed head."""
    if view == "portrait":
        return Camera(inputs.camera, PORTRAIT_CAMERA, None)
    frame = body.joint_transforms[:, HEAD] if body else head_frame(generator, inputs.betas, inputs.joint_eulers)
    return Camera(inputs.face_camera, FACE_CAMERA, frame)


def carry_to_neutral(
    generator: Generator, body: PosedBody | None, camera: Camera, size: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Samples of all rays in neutral pose [B, R, S, 3], T, and D^p(T); :class:`View` says more."""
    like = {"dtype": camera.angles.dtype, "device": camera.angles.device}
    depths = sample_depths(camera.model, generator.config.num_samples, **like)
    points = camera.rays(size).at(depths).unflatten(1, (size, size))  # [B, H, W, S, 3]
    if body is None:
        return points.flatten(1, 2), None, None
    with torch.no_grad():
        transforms = generator.inverse_skinning(points, body)
    if generator.config.pose == "nearest":
        return apply_volume(transforms, points).flatten(1, 2), None, None
    smoothed = generator.pose_deformation(transforms)
    return apply_volume(smoothed, points).flatten(1, 2), transforms, smoothed


def _in_chunks(function: Callable, total: int, size: int) -> list:
    """``function`` of slices of at most ``size`` (0: one slice); in grad mode each keeps nothing but its inputs."""
    if not size or not torch.is_grad_enabled():
        return [function(slice(i, i + (size or total))) for i in range(0, total, size or total)]
    slices = (slice(i, i + size) for i in range(0, total, size))
    return [checkpoint(function, part, use_reentrant=False, preserve_rng_state=False) for part in slices]


def render_radiance(
    generator: Generator,
    style: RadianceStyle,
    inputs: Inputs,
    view: str,
    *,
    body: PosedBody | None = None,
    rays_per_chunk: int = 0,
) -> View:
    """Stage 1: lowres_size^2 pixels.

    Args:
        style: of phi.
        inputs: latents, poses and cameras.
        view: ``portrait`` or ``face``.
        body: from :func:`pose_people`, where it is there already.
        rays_per_chunk: recompute D^e, M and phi in the backward pass, so many rays of every picture at a time; 0: keep
            their activations.
    """
    size = generator.config.lowres_size
    body = body or pose_people(generator, inputs)
    camera = view_camera(generator, inputs, view, body)
    neutral, transforms, smoothed = carry_to_neutral(generator, body, camera, size)
    styled = generator.radiance.styled(style)  # once, not in every chunk

    def radiate(rays: slice) -> tuple[ManifoldPoints, Tensor]:
        points = generator.find_manifold_points(neutral[:, rays], inputs.z_id, inputs.z_exp, camera.model)
        return points, radiance_at(generator.radiance, points, styled)

    parts = _in_chunks(radiate, size * size, rays_per_chunk)
    points = ManifoldPoints(*(torch.cat(values, 1) for values in zip(*(p for p, _ in parts), strict=True)))
    rgba = torch.cat([values for _, values in parts], 1)
    image, alpha, depth = generator.composite(rgba, points, camera.angles, camera.model)
    return View(image, neutral, transforms, smoothed, alpha, depth, opacity=rgba[..., 3])


def build_maps(generator: Generator, style: PersonStyle, *, manifolds_per_chunk: int = 0) -> ManifoldMaps:
    """Stage 2: the flattened manifolds; gradients flow through U alone.

    Args:
        style: of phi and U.
        manifolds_per_chunk: recompute U in the backward pass, so many manifolds at a time; 0: keep its activations.
    """
    with torch.no_grad():
        low = generator.flat_radiance(style.radiance).float()
    if not generator.config.superresolution:
        return ManifoldMaps(low[:, :, :4], low[:, :, :4])
    high = _in_chunks(
        lambda part: generator.superresolution(low[:, part], style.superresolution), low.shape[1], manifolds_per_chunk
    )
    return ManifoldMaps(low[:, :, :4], torch.cat(high, 1).float())


def render_maps(
    generator: Generator, maps: ManifoldMaps, inputs: Inputs, view: str, *, body: PosedBody | None = None
) -> View:
    """Stage 2: the portrait at 4 x lowres_size, the face at half of that, both from crossings of lowres_size^2 rays.

    ``body``: from :func:`pose_people`, where it is there already.
    """
    size = generator.config.lowres_size
    body = body or pose_people(generator, inputs)
    camera = view_camera(generator, inputs, view, body)
    with torch.no_grad():
        neutral, transforms, smoothed = carry_to_neutral(generator, body, camera, size)
        points = generator.find_manifold_points(neutral, inputs.z_id, inputs.z_exp, camera.model)
        image_lr, _, _ = generator.shade(maps.low, points, camera.angles, camera.model)
    upscale = UPSCALE if view == "portrait" else UPSCALE // 2
    image, alpha, depth = generator.shade(maps.high, points, camera.angles, camera.model, upscale)
    return View(image, neutral, transforms, smoothed, alpha, depth, image_lr)
