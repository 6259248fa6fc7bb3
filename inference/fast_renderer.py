"""Frames in a fraction of the time: what the method leaves fixed is computed once, what is smooth is interpolated.

Against ``Generator.render``, which stays the measure (method.md section 3):

    M           depends on no latent: looked up in a grid that is made once per model
    D^e         evaluated at the nodes of a coarser grid, near the manifolds only; interpolated
    skinning    nearest vertices by tiles of neighbouring points instead of all pairs
    D^p         the upsampling and the second filter are one filter on half as many cells each way; interpolated
    crossings   on the method's own fine samples and by its rule, but only where a level can be near
    maps        kept in half precision; crossings upsampled, looked up and composited in one pass
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import PORTRAIT_CAMERA, cast_rays, sample_depths
from networks.compositing import square_images
from networks.generator import POINTS_PER_CHUNK, Frame, Generator, ManifoldMaps, ManifoldPoints
from networks.generator_config import UPSCALE, GeneratorConfig
from networks.manifolds import flat_coordinates
from networks.pose_deformation import GRID_STRIDE, KERNEL, inverse_vertex_transforms
from torch_utils.ops.manifold_composite import composite_manifolds
from torch_utils.ops.march_rays import BoxGrid, Sampling, march_rays
from torch_utils.ops.nearest_vertex import nearest_vertices
from torch_utils.ops.ray_manifold import MIN_SCALAR_STEP
from torch_utils.ops.smooth_volume import smooth_volume

# What the portrait camera sees from any side, and a margin: a cube around the centre of its orbit. Canonical units.
HALF_REACH = 0.28
FIELD_SPACING = 0.004  # between the nodes of s: 3 pixels of a 512^2 image
DISPLACEMENT_SPACING = 0.0125  # between those of D^e
# D^e is evaluated where a manifold is within so many nodes; it moves points by less.
DISPLACEMENT_MARGIN = 1
# On a CPU, only where a ray is, too: in such cubes of nodes, and their neighbours.
CUBE = 2
CAMERA = PORTRAIT_CAMERA


class FrameMaps(NamedTuple):
    """A person's manifolds as frames read them."""

    low: Tensor  # [1, K, h, w, 4] half precision
    high: Tensor  # [1, K, 4h, 4w, 4]

    @classmethod
    def of(cls, maps: ManifoldMaps) -> "FrameMaps":
        return cls(*(part.permute(0, 1, 3, 4, 2).half().contiguous() for part in maps))


class FastRenderer:
    """Draws frames of one generator by the portrait camera; see the module's text.

    Weights are read here, once: changing them afterwards changes nothing.

    Args:
        generator: in eval mode, on its device.
        impl: of the compiled ops: ``auto``, ``ref`` (plain torch, slow), ``cpp`` or ``cuda``.
    """

    @torch.inference_mode()
    def __init__(self, generator: Generator, *, impl: str = "auto"):
        self._generator, self._impl = generator, impl
        config, device = generator.config, generator.manifolds.levels.device
        stride = 1 if config.pose == "nearest" else GRID_STRIDE
        nodes, box = _nodes(DISPLACEMENT_SPACING, device)
        coarse = _scalars(generator, nodes)
        near = _near_manifolds(coarse, generator.manifolds.levels)
        self._field = _tabulate(generator, coarse, near)
        self._active = near.flatten().nonzero().squeeze(1)  # [A]
        self._active_points = nodes.reshape(-1, 3)[self._active]  # [A, 3]
        self._displacement_box, self._displacement_size = box, nodes.shape[:3]
        self._active_cubes = _cubes(self._active, self._displacement_size)  # [A]
        self._reach = _reach(config, stride)
        # Weights trained with other conventions displace points by other amounts (Generator.canonical_points).
        one = torch.ones(())
        search_scale, lookup_scale = (scale.item() for scale in generator.canonical_points(0 * one, one))
        self._sampling = Sampling(
            CAMERA.near, CAMERA.far, config.num_samples, config.num_fine_samples, stride, search_scale, lookup_scale,
            MIN_SCALAR_STEP,
        )  # fmt: skip
        smoother = generator.pose_deformation
        self._filters = _filter(smoother.weight1), _after_upsampling(_filter(smoother.weight2))

    @torch.inference_mode()
    def render(
        self, maps: FrameMaps, z_id: Tensor, z_exp: Tensor, betas: Tensor, joint_eulers: Tensor, camera: Tensor
    ) -> Frame:
        """One image of one person: as ``Generator.render`` with a batch of one. Nothing waits for a GPU.

        Args:
            maps: of the person.
            z_id: [1, 80]; z_exp: [1, 64]; betas: [1, 10].
            joint_eulers: [1, 6, 3] radians, joints 12..17.
            camera: [1, 2] (pitch, yaw) radians.
        """
        points = self.trace(z_id, z_exp, betas, joint_eulers, camera)
        order = self._generator.sort_distances(points.canonical, points.depth, camera, CAMERA)
        order = None if order is points.depth else order
        image_lr, _, _ = self._shade(maps.low, points, order, 1)
        return Frame(*self._in_order(image_lr, *self._shade(maps.high, points, order, UPSCALE)))

    @staticmethod
    def _in_order(image_lr: Tensor, image: Tensor, alpha: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
        return image, image_lr, depth, alpha

    def trace(self, z_id: Tensor, z_exp: Tensor, betas: Tensor, joint_eulers: Tensor, camera: Tensor) -> ManifoldPoints:
        """Crossings of the low-resolution rays, as ``Generator.trace``."""
        config = self._generator.config
        size, stride = config.lowres_size, self._sampling.stride
        origins, directions = (part[0].unflatten(0, (size, size)) for part in cast_rays(camera, CAMERA, size))
        depths = sample_depths(CAMERA, config.num_samples, device=directions.device)[::stride]
        points = origins[::stride, ::stride, None] + directions[::stride, ::stride, None] * depths[:, None]
        transforms = self._transforms(points, betas, joint_eulers)
        visited = self._visited(_apply(transforms, points)) if points.device.type == "cpu" else None
        displacement = self._displace(z_id, z_exp, visited)
        levels = self._generator.manifolds.levels
        found = march_rays(
            origins, directions, transforms, displacement, self._field, levels, self._sampling, impl=self._impl
        )
        return ManifoldPoints(*(part[None] for part in found))

    def _transforms(self, points: Tensor, betas: Tensor, joint_eulers: Tensor) -> Tensor:
        """Posed -> neutral, smoothed by D^p: [H' + 1, W' + 1, S' + 1, 16] at points [H', W', S', 3] and beyond.

        The points are every second pixel and sample; the last nodes lie where the next ones would be.
        """
        pose = self._generator.config.pose
        if pose == "none":
            nodes = [n + 1 for n in points.shape[:3]]
            return torch.eye(4, device=points.device).flatten().expand(*nodes, 16).contiguous()
        body = self._generator.body(betas, joint_eulers)
        index = nearest_vertices(points, body.vertices[0], impl=self._impl)
        inverse = inverse_vertex_transforms(self._generator.body.head_shoulder_weights, body.joint_transforms)
        inverse = inverse[0].flatten(1)  # [V, 16]
        if pose == "nearest":
            return inverse[index]
        depth, height, width = (k // 2 for k in KERNEL)
        volume = inverse[_reflect(index, (height, width, depth))]
        volume = smooth_volume(volume, self._filters[0], impl=self._impl)
        volume = _reflect_upsampled(volume, (height // 2 + 1, width // 2 + 1, depth // 2 + 1))
        return smooth_volume(volume, self._filters[1], impl=self._impl)

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
            deform = self._generator.expression_deformation
            style = deform.style(z_id, z_exp)
            points, index = self._active_points, self._active
            if visited is not None:
                points, index = points[visited], index[visited]
            parts = [deform(part[None], style)[0] for part in _chunks(points)]
            values.view(-1, 4)[index, :3] = torch.cat(parts)
        return BoxGrid(values, self._displacement_box)

    def _shade(self, maps: Tensor, points: ManifoldPoints, order: Tensor | None, upscale: int):
        size = self._generator.config.lowres_size
        parts = (flat_coordinates(points.canonical), points.depth, points.valid, order)
        coordinates, depth, valid, order = (p if p is None else p.unflatten(1, (size, size)) for p in parts)
        pixels = composite_manifolds(
            maps, coordinates, depth, valid, order=order, upscale=upscale, impl=self._impl
        )  # [1, H, W, .]
        rgb, alpha, depth = (part.flatten(1, 2) for part in pixels)
        return square_images(type(pixels)(rgb, alpha, depth))


def _chunks(points: Tensor) -> tuple[Tensor, ...]:
    return points.split(POINTS_PER_CHUNK.get(points.device.type, POINTS_PER_CHUNK["cuda"]))


def _nodes(spacing: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Points of a grid over the reach of the rays [Z, Y, X, 3], and its box [6]; see BoxGrid."""
    count = round(2 * HALF_REACH / spacing) + 1
    along = torch.linspace(-HALF_REACH, HALF_REACH, count, device=device)
    z, y, x = torch.meshgrid(along, along, along, indexing="ij")
    centre = torch.tensor(CAMERA.offset, device=device)
    per_unit = (count - 1) / (2 * HALF_REACH)
    return torch.stack([x, y, z], -1) + centre, torch.cat([centre - HALF_REACH, torch.full_like(centre, per_unit)])


def _scalars(generator: Generator, points: Tensor) -> Tensor:
    """s at canonical points [..., 3] -> [...]."""
    return torch.cat([generator.manifolds(part) for part in _chunks(points.reshape(-1, 3))]).reshape(points.shape[:-1])


def _near_manifolds(s: Tensor, levels: Tensor) -> Tensor:
    """Which nodes have a manifold within DISPLACEMENT_MARGIN nodes: s [Z, Y, X] -> bool [Z, Y, X]."""

    def most(values: Tensor) -> Tensor:
        return F.max_pool3d(values[None], 2 * DISPLACEMENT_MARGIN + 1, stride=1, padding=DISPLACEMENT_MARGIN)[0]

    return (most(s) >= levels.min()) & (-most(-s) <= levels.max())


def _tabulate(generator: Generator, coarse: Tensor, near: Tensor) -> BoxGrid:
    """s of canonical points: M's own at nodes in cells with a corner that is ``near`` manifolds; elsewhere no level is
    reached, and ``coarse`` s, interpolated, will do."""
    nodes, box = _nodes(FIELD_SPACING, coarse.device)

    def refine(values: Tensor) -> Tensor:
        size = nodes.shape[:3]
        return F.interpolate(values[None, None], size=size, mode="trilinear", align_corners=True)[0, 0]

    values, near = refine(coarse), refine(near.float()) > 0
    values[near] = _scalars(generator, nodes[near])
    return BoxGrid(values[..., None], box)


def _cubes(index: Tensor, size: Sequence[int]) -> Tensor:
    """Flat indices of nodes -> those of the cubes they are in, CUBE nodes a side."""
    z, y, x = index // (size[1] * size[2]), index // size[2] % size[1], index % size[2]
    return ((z // CUBE) * (size[1] // CUBE + 1) + y // CUBE) * (size[2] // CUBE + 1) + x // CUBE


def _reach(config: GeneratorConfig, stride: int) -> int:
    """How many cubes away from a node of the transforms the nodes can be that samples around it need."""
    across = 2 * CAMERA.far * math.tan(math.radians(CAMERA.fov_degrees / 2)) / (config.lowres_size - 1)
    along = (CAMERA.far - CAMERA.near) / (config.num_samples - 1)
    half_diagonal = 0.5 * stride * math.hypot(across, across, along) / DISPLACEMENT_SPACING
    return math.ceil((half_diagonal + 1) / CUBE)


def _apply(transforms: Tensor, points: Tensor) -> Tensor:
    """Transforms [H', W', S', 16] or more on points [H', W', S', 3] -> [H' * W' * S', 3]."""
    height, width, samples = points.shape[:3]
    rows = transforms[:height, :width, :samples, :12].reshape(-1, 3, 4)
    return (rows[..., :3] * points.reshape(-1, 1, 3)).sum(-1) + rows[..., 3]


def _filter(weight: Tensor) -> Tensor:
    """D^p's filter [16, 1, depth, height, width] as ``smooth_volume`` takes it: normalised, [h, w, s, 16]."""
    return (weight / weight.sum((2, 3, 4), keepdim=True))[:, 0].permute(2, 3, 1, 0).contiguous()


def _after_upsampling(weight: Tensor) -> Tensor:
    """One filter for x2 trilinear upsampling followed by ``weight`` [h, w, s, 16], at the even upsampled cells.

    Upsampled cell 2j is a quarter of cell j - 1 and three quarters of cell j; cell 2j + 1 three quarters of cell j and
    a quarter of cell j + 1. So 9 cells around cell 2j are made of the 6 from j - 3 to j + 2, and 5 of 4.
    """
    for axis in range(3):
        taps = weight.shape[axis]
        reach = taps // 4 + 1
        spread = weight.new_zeros(taps, 2 * reach)  # [taps, cells j - reach .. j + reach - 1]
        for tap in range(taps):
            cell, odd = divmod(tap - taps // 2, 2)
            spread[tap, cell + reach] = 0.75
            spread[tap, cell + reach + (1 if odd else -1)] = 0.25
        weight = torch.tensordot(weight.movedim(axis, -1), spread, 1).movedim(-1, axis)
    return weight.contiguous()


def _reflect(volume: Tensor, padding: tuple[int, int, int]) -> Tensor:
    """Reflects the first three axes at their first and last cells."""
    for axis, pad in enumerate(padding):
        size = volume.shape[axis]
        index = torch.arange(-pad, size + pad, device=volume.device).abs()
        volume = volume.index_select(axis, torch.where(index < size, index, 2 * size - 2 - index))
    return volume


def _reflect_upsampled(volume: Tensor, padding: tuple[int, int, int]) -> Tensor:
    """Reflects the first three axes where upsampling by two would have its first and last cells.

    These lie a quarter of a cell outside ours, so that a cell's image falls half-way between two. At the border this
    is not exactly what the method's padding of upsampled cells gives, but nearly.
    """
    for axis, pad in enumerate(padding):
        size = volume.shape[axis]
        front, back = (
            0.5 * (volume.narrow(axis, start, pad) + volume.narrow(axis, start + 1, pad)).flip(axis)
            for start in (0, size - 1 - pad)
        )
        volume = torch.cat([front, volume, back], axis)
    return volume
