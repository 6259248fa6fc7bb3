"""Frames in a fraction of the time: what the method leaves fixed is computed once, what is smooth is interpolated.

Against ``Generator.render``, which stays the measure (method.md section 3):

    M           depends on no latent: looked up in a grid that is made once per model
    D^e         evaluated at the nodes of a coarser grid, near the manifolds only; interpolated
    skinning    nearest vertices by tiles of neighbouring points instead of all pairs
    D^p         the upsampling and the second filter are one filter on half as many cells each way; interpolated
    crossings   on the method's own fine samples and by its rule, but only where a level can be near
    maps        kept in half precision; crossings upsampled, looked up and composited in one pass
"""

import copy
import functools
import threading
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.fast.body import NO_POSE, FastBody, Pose
from inference.fast.grids import (
    CAMERA,
    CUBE,
    cubes_of,
    displacement_grid,
    near_manifolds,
    nodes_of_reach,
    reach,
    scalars,
    tabulate,
)
from inference.fast.recording import Recording
from inference.fast.smoothing import filters_of, smooth_entries
from networks.cameras import camera_frame, pixel_directions, sample_depths
from networks.compositing import Composite, Frame, square_images
from networks.manifold.generator import Generator, ManifoldMaps, ManifoldPoints
from networks.manifold.generator_config import UPSCALE
from networks.manifold.manifolds import flat_coordinates
from networks.manifold.openings import pixel_places, redrawn, torn_pixels
from networks.person.pose_deformation import GRID_STRIDE
from torch_utils.device import full_precision
from torch_utils.ops.manifold_composite import composite_manifolds, occupied_blocks
from torch_utils.ops.march_rays import BoxGrid, Sampling, march_rays
from torch_utils.ops.nearest_vertex import nearest_vertices
from torch_utils.ops.point_network import point_network
from torch_utils.ops.ray_manifold import MIN_SCALAR_STEP

# Opacity below which a texel is left out: half of a step of an 8-bit image, eight layers deep.
MIN_ALPHA = 2**-12


class FrameMaps(NamedTuple):
    """A person's manifolds as frames read them."""

    rgba: Tensor  # [1, K, h, w, 4] half precision, without what is hardly there (MIN_ALPHA)
    occupied: Tensor  # where something is; see composite_manifolds

    @classmethod
    def of(cls, maps: Tensor) -> "FrameMaps":
        """Of one of ManifoldMaps [1, K, 4, h, w]."""
        rgba = maps.permute(0, 1, 3, 4, 2).half().contiguous()
        rgba[..., 3].masked_fill_(rgba[..., 3] < MIN_ALPHA, 0)
        return cls(rgba, occupied_blocks(rgba))


class FastPerson:
    """What frames of one person have in common; made by :meth:`FastRenderer.person`."""

    def __init__(self, low: FrameMaps, high: FrameMaps, z_id: Tensor, body: FastBody | None):
        self.low, self.high, self.z_id, self.body = low, high, z_id, body
        self.drawn = False  # before, on CUDA
        self.recording: Recording | None = None  # of a frame, on CUDA


class Motion(NamedTuple):
    """What is new in a frame: a few hundred numbers, prepared on the CPU."""

    z_exp: Tensor  # [1, 64]
    camera: Tensor  # [1, 2] (pitch, yaw) radians
    rotation: Tensor  # [1, 3, 3] the camera's axes
    origin: Tensor  # [1, 3]
    features: Tensor  # [54] see Pose
    transforms: Tensor  # [2, 7, 4, 4]

    @classmethod
    def of(cls, body: FastBody | None, z_exp: Tensor, joint_eulers: Tensor, camera: Tensor) -> "Motion":
        """z_exp [1, 64], joint_eulers [1, 6, 3] and camera [1, 2] on the CPU."""
        rotation, origin = camera_frame(camera, CAMERA.radius)
        pose = body.pose(joint_eulers[0]) if body else NO_POSE
        return cls(z_exp, camera, rotation, origin + torch.tensor(CAMERA.offset), *pose)

    def pack(self) -> Tensor:
        """All the numbers in a row, so that they travel to a GPU together."""
        return torch.cat([part.flatten() for part in self])

    def unpack(self, numbers: Tensor) -> "Motion":
        """Views into ``numbers``, shaped as ours."""
        parts = numbers.split([part.numel() for part in self])
        return Motion(*(part.view(ours.shape) for part, ours in zip(parts, self, strict=True)))


class FastRenderer:
    """Draws frames of one generator by the portrait camera; see the module's text. Threads may share it.

    What M and D^p say is read here, once: after their weights have changed, another renderer is needed.

    Args:
        generator: in eval mode, on its device.
        impl: of the compiled ops: ``auto``, ``ref`` (plain torch, slow), ``cpp`` or ``cuda``.
    """

    @torch.inference_mode()
    def __init__(self, generator: Generator, *, impl: str = "auto"):
        self._generator, self._impl = generator, impl
        self._recordings = threading.Lock()
        config, device = generator.config, generator.manifolds.levels.device
        stride = 1 if config.pose == "nearest" else GRID_STRIDE
        spacing, margin = displacement_grid(config)
        nodes, box = nodes_of_reach(spacing, device)
        coarse = scalars(generator, nodes)
        near = near_manifolds(coarse, generator.manifolds.levels, spacing, margin)
        self._field = tabulate(generator, coarse, near)
        self._active = near.flatten().nonzero().squeeze(1)  # [A]
        self._active_points = nodes.reshape(-1, 3)[self._active]  # [A, 3]
        self._displacement_box, self._displacement_size = box, nodes.shape[:3]
        self._culls = device.type == "cpu"  # a GPU would have to wait for how many are left, to save little
        self._active_cubes = cubes_of(self._active, self._displacement_size)  # [A]
        self._reach = reach(config, stride)
        # Weights trained with other conventions displace points by other amounts (Generator.canonical_points).
        one = torch.ones(())
        search_scale, lookup_scale = (scale.item() for scale in generator.canonical_points(0 * one, one))
        self._sampling = Sampling(
            CAMERA.near, CAMERA.far, config.num_samples, config.num_fine_samples, stride, search_scale, lookup_scale,
            MIN_SCALAR_STEP,
        )  # fmt: skip
        self._filters = filters_of(generator.pose_deformation)
        self._directions = pixel_directions(config.lowres_size, CAMERA.fov_degrees, device=device)  # [R, 3]
        self._fine_depths = sample_depths(CAMERA, config.num_samples, device=device)
        self._depths = self._fine_depths[::stride]
        if config.opens:
            self._fine_directions = pixel_directions(config.image_size, CAMERA.fov_degrees, device=device)

    @torch.inference_mode()
    def person(self, maps: ManifoldMaps, z_id: Tensor, betas: Tensor) -> FastPerson:
        """One person, ready for frames: maps of a batch of one, z_id [1, 80], betas [1, 10]."""
        return FastPerson(FrameMaps.of(maps.low), FrameMaps.of(maps.high), z_id, self._body(betas))

    def _body(self, betas: Tensor) -> FastBody | None:
        return None if self._generator.config.pose == "none" else FastBody(self._generator.body, betas)

    @torch.inference_mode()
    def render(self, person: FastPerson, z_exp: Tensor, joint_eulers: Tensor, camera: Tensor) -> Frame:
        """One image of one person, with a batch of one. On a GPU nothing waits for it, unless inputs are there.

        Args:
            person: from :meth:`person`.
            z_exp: [1, 64].
            joint_eulers: [1, 6, 3] radians, joints 12..17.
            camera: [1, 2] (pitch, yaw) radians.
        """
        motion = Motion.of(person.body, z_exp.cpu(), joint_eulers.cpu(), camera.cpu())
        if person.z_id.device.type != "cuda":
            return self._draw(person, motion)
        with self._recordings:  # one place for a recording's numbers, one for its results
            # Recording costs three frames: it is for those who are drawn again, not for blends of people.
            if not person.drawn:
                person.drawn = True
                # The pinned copy lasts until it has been read, see Recording.
                numbers = motion.pack().pin_memory().to(person.z_id.device, non_blocking=True)
                return self._draw_packed(person, motion, numbers)
            if person.recording is None:
                # Of a copy: a person that a recording of its own refers to would keep its memory when nobody needs it.
                draw = functools.partial(self._draw_packed, copy.copy(person), motion)
                person.recording = Recording(draw, motion.pack(), person.z_id.device)
            return person.recording(motion.pack())

    def _draw_packed(self, person: FastPerson, like: Motion, numbers: Tensor) -> Frame:
        return self._draw(person, like.unpack(numbers))

    def _draw(self, person: FastPerson, motion: Motion) -> Frame:
        """A frame, given what is new in it, on the device."""
        points, transforms = self._trace(person.z_id, person.body, motion)
        order = self._order(points, motion)
        image_lr, _, _ = square_images(self._shade(person.low, points, order, 1))
        image, alpha, depth = square_images(self._shade(person.high, points, order, UPSCALE))
        frame = Frame(image, image_lr, depth, alpha)
        if not self._generator.config.opens:
            return frame
        pixels = torn_pixels(points.canonical, points.valid, self._generator.config.lowres_size)
        if not pixels.numel():
            return frame
        neutral = self._neutral(pixels, transforms, motion)
        points = self._generator.find_manifold_points(neutral, person.z_id, motion.z_exp, CAMERA)
        return redrawn(frame, pixels, self._shade(person.high, points, self._order(points, motion), 1))

    def _order(self, points: ManifoldPoints, motion: Motion) -> Tensor | None:
        """What crossings are sorted by, if not by their depth."""
        distances = self._generator.sort_distances(points.canonical, points.depth, motion.camera, CAMERA)
        return None if distances is points.depth else distances

    @torch.inference_mode()
    def trace(self, z_id: Tensor, z_exp: Tensor, betas: Tensor, joint_eulers: Tensor, camera: Tensor) -> ManifoldPoints:
        """Crossings of the low-resolution rays, as ``Generator.trace``."""
        body = self._body(betas)
        motion = Motion.of(body, z_exp.cpu(), joint_eulers.cpu(), camera.cpu())
        return self._trace(z_id, body, motion.unpack(motion.pack().to(z_id.device)))[0]

    @full_precision()
    def _trace(self, z_id: Tensor, body: FastBody | None, motion: Motion) -> tuple[ManifoldPoints, Tensor]:
        """Crossings, and the transforms that led to them, see :meth:`_transforms`."""
        size, stride = self._generator.config.lowres_size, self._sampling.stride
        directions = (self._directions @ motion.rotation[0].T).unflatten(0, (size, size))
        origins = motion.origin.expand_as(directions)
        points = origins[::stride, ::stride, None] + directions[::stride, ::stride, None] * self._depths[:, None]
        transforms = self._transforms(points, body, motion)
        visited = self._visited(_apply(transforms, points)) if self._culls else None
        displacement = self._displace(z_id, motion.z_exp, visited)
        levels = self._generator.manifolds.levels
        found = march_rays(
            origins, directions, transforms, displacement, self._field, levels, self._sampling, impl=self._impl
        )
        return ManifoldPoints(*(part[None] for part in found)), transforms

    @full_precision()
    def _neutral(self, pixels: Tensor, transforms: Tensor, motion: Motion) -> Tensor:
        """Samples along the rays of ``pixels`` [1, P] of an image, in neutral pose [1, P, S, 3]."""
        config, stride = self._generator.config, self._sampling.stride
        directions = self._fine_directions[pixels[0]] @ motion.rotation[0].T
        depths = self._fine_depths
        points = motion.origin + directions[:, None] * depths[:, None]  # [P, S, 3]
        row, column = pixel_places(pixels, config.lowres_size)
        places = (torch.arange(len(depths), device=depths.device), column[0, :, None], row[0, :, None])
        scaled = (2 / stride / (n - 1) * part - 1 for part, n in zip(places, transforms.shape[2::-1], strict=True))
        at = torch.stack([part.expand(*points.shape[:2]) for part in scaled], -1)  # [P, S, 3]
        volume = transforms[..., :12].permute(3, 0, 1, 2)[None]
        rows = F.grid_sample(volume, at[None, None], align_corners=True)[0, :, 0]  # [12, P, S]
        rows = rows.permute(1, 2, 0).unflatten(2, (3, 4))
        return ((rows[..., :3] * points[..., None, :]).sum(-1) + rows[..., 3])[None]

    def _transforms(self, points: Tensor, body: FastBody | None, motion: Motion) -> Tensor:
        """Posed -> neutral, smoothed by D^p: [H' + 1, W' + 1, S' + 1, 16] at points [H', W', S', 3] and beyond.

        The points are every second pixel and sample; the last nodes lie where the next ones would be.
        """
        if body is None:
            nodes = [n + 1 for n in points.shape[:3]]
            return torch.eye(4, device=points.device).flatten().expand(*nodes, 16).contiguous()
        pose = Pose(motion.features, motion.transforms)
        index = nearest_vertices(points, body.vertices(pose), impl=self._impl)
        inverse = body.inverse_transforms(pose)  # [V, 16]
        if self._generator.config.pose == "nearest":
            return inverse[index]
        return smooth_entries(inverse, index, self._filters, impl=self._impl)

    def _visited(self, neutral: Tensor) -> Tensor:
        """Which of the active nodes [A] rays come near, given every second of their samples [N, 3]."""
        cubes = [n // CUBE + 1 for n in self._displacement_size]
        position = (neutral - self._displacement_box[:3]) * self._displacement_box[3:]
        index = (position / CUBE).long().clamp_(min=0)
        x, y, z = (part.clamp(max=n - 1) for part, n in zip(index.unbind(-1), cubes[::-1], strict=True))
        seen = torch.zeros(cubes, device=neutral.device)
        seen[z, y, x] = 1
        seen = F.max_pool3d(seen[None], 2 * self._reach + 1, stride=1, padding=self._reach)[0] > 0
        return seen.flatten()[self._active_cubes]

    def _displace(self, z_id: Tensor, z_exp: Tensor, visited: Tensor | None) -> BoxGrid:
        """D^e at the nodes near the manifolds, those that are ``visited`` [A] if given, and 0 at all others."""
        values = self._active_points.new_zeros(*self._displacement_size, 4)
        if self._generator.config.expression:
            points, index = self._active_points, self._active
            if visited is not None:
                index = visited.nonzero().squeeze(1)
                points, index = points[index], self._active[index]
            deform = self._generator.expression_deformation
            styled = deform.styled(deform.style(z_id, z_exp), values.shape[-1])  # an entry that nobody reads
            values.view(-1, 4)[index] = point_network(points[None], *styled, impl=self._impl)[0]
        return BoxGrid(values, self._displacement_box)

    def _shade(self, maps: FrameMaps, points: ManifoldPoints, order: Tensor | None, upscale: int) -> Composite:
        """Crossings of a square image, ``upscale`` pixels a ray each way; with one a ray they may be of any rays."""
        size = self._generator.config.lowres_size if upscale > 1 else 1
        parts = (flat_coordinates(points.canonical), points.depth, points.valid)
        order = None if order is None else order.unflatten(1, (size, -1))
        pixels = composite_manifolds(
            maps.rgba, *(part.unflatten(1, (size, -1)) for part in parts), order=order, upscale=upscale,
            occupied=maps.occupied, impl=self._impl,
        )  # fmt: skip  # [1, H, W, .]
        return Composite(*(part.flatten(1, 2) for part in pixels))


def _apply(transforms: Tensor, points: Tensor) -> Tensor:
    """Transforms [H', W', S', 16] or more on points [H', W', S', 3] -> [H' * W' * S', 3]."""
    height, width, samples = points.shape[:3]
    rows = transforms[:height, :width, :samples, :12].reshape(-1, 3, 4)
    return (rows[..., :3] * points.reshape(-1, 1, 3)).sum(-1) + rows[..., 3]
