"""The deformations forward: from canonical space to neutral pose with an expression, and on to a pose.

The method carries points the other way (paper section 3.1): posed -> neutral pose, by inverse skinning that D^p
smooths, -> canonical, by D^e. A mesh that is to be posed needs D^e's inverse, which is found by fixed point, and
weights for linear blend skinning: those of the nearest vertices, smoothed as D^p does for the camera in front.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.fast.body import FastBody, Pose
from inference.fast.grids import CAMERA
from inference.fast.smoothing import filters_of, smooth_entries
from inference.portable.avatar import INFLUENCES
from networks.cameras import FRONTAL, cast_rays, project, sample_depths, to_pixels
from networks.manifold.generator import Generator
from networks.person.pose_deformation import GRID_STRIDE
from torch_utils.ops.nearest_vertex import nearest_vertices

SPACING = 0.0125  # canonical units between the nodes at which D^e is inverted: as in frames of quality ``fast``
_NEAR, _REACH = 1, 3  # nodes around points where the inverse is wanted, and where D^e may be asked for it
_ROUNDS = 6  # of the fixed point: D^e grows by a fraction of the way
_POSE_ROUNDS = 3  # of the fixed point that poses points
_ENTRIES = 16  # of a transform, that D^p smooths
_FRONT = torch.full((1, 2), FRONTAL)


class Field(NamedTuple):
    """C displacements of any point in a box, interpolated between nodes."""

    values: Tensor  # [C, Z, Y, X, 3]
    origin: Tensor  # [3] the first node

    def at(self, points: Tensor) -> Tensor:
        """points [N, 3] -> [C, N, 3]; outside the box its border's."""
        last = torch.tensor(self.values.shape[3:0:-1]) - 1  # X, Y, Z
        place = 2 * (points - self.origin) / (SPACING * last) - 1
        volume = self.values.permute(0, 4, 1, 2, 3).flatten(0, 1)[None]
        found = F.grid_sample(volume, place[None, None, None], align_corners=True, padding_mode="border")
        return found[0, :, 0, 0].unflatten(0, (-1, 3)).transpose(1, 2)


def scales(generator: Generator) -> tuple[float, float]:
    """By how many times D^e points are displaced where M is asked, and where radiance is looked up."""
    one = torch.ones(())
    searched, looked_up = generator.canonical_points(0 * one, one)
    return searched.item(), looked_up.item()


@torch.inference_mode()
def inverse_expressions(generator: Generator, z_id: Tensor, expressions: Tensor, near: Tensor) -> Field:
    """E with E(y) = -b D^e(y + E(y)), of every expression: what is looked up at y is at y + E(y) of the neutral pose.

    b is 1, but for weights trained with other conventions: see :func:`scales`.

    Args:
        z_id: [1, 80].
        expressions: [C, 64].
        near: points [N, 3] around which it is wanted, on the CPU as the result; elsewhere it is 0.
    """
    margin = (_NEAR + _REACH) * SPACING
    low = near.amin(0) - margin
    sizes = [round(n) + 2 for n in ((near.amax(0) + margin - low) / SPACING).tolist()]
    marked = torch.zeros(sizes[::-1])
    x, y, z = ((near - low) / SPACING).round().long().unbind(-1)
    marked[z, y, x] = 1

    def nodes(reach: int) -> Tensor:
        return (F.max_pool3d(marked[None], 2 * reach + 1, stride=1, padding=reach)[0] > 0).nonzero()  # [A, 3] z, y, x

    _, scale = scales(generator)
    asked, wanted = nodes(_NEAR + _REACH), nodes(_NEAR)
    points = low + SPACING * wanted.flip(-1)
    inverse = torch.zeros(len(expressions), *marked.shape, 3)
    for i, z_exp in enumerate(expressions):
        forward = Field(torch.zeros(1, *marked.shape, 3), low)
        forward.values[0][asked.unbind(1)] = _displacements(generator, z_id, z_exp, low + SPACING * asked.flip(-1))
        found = torch.zeros_like(points)
        for _ in range(_ROUNDS):
            found = -scale * forward.at(points + found)[0]
        inverse[i][wanted.unbind(1)] = found
    return Field(inverse, low)


def _displacements(generator: Generator, z_id: Tensor, z_exp: Tensor, points: Tensor) -> Tensor:
    """D^e at points [N, 3] -> [N, 3]."""
    style = generator.expression_deformation.style(z_id, z_exp[None].to(z_id))
    return generator.expression_displacement(points[None].to(z_id), style)[0].cpu()


class RayVolume(NamedTuple):
    """Numbers in the space of a camera's rays, interpolated between every second pixel and sample."""

    values: Tensor  # [H, W, S, C]
    camera: Tensor  # [1, 2]
    size: int  # lowres_size
    per_unit: float  # nodes, along a ray

    @classmethod
    def of(cls, values: Tensor, camera: Tensor, generator: Generator) -> "RayVolume":
        """Of values [H, W, S, C] at :func:`_nodes`, and maybe one node further each way."""
        per_unit = (generator.config.num_samples - 1) / (CAMERA.far - CAMERA.near) / GRID_STRIDE
        return cls(values, camera, generator.config.lowres_size, per_unit)

    def at(self, points: Tensor) -> Tensor:
        """Points of the camera's space [N, 3] -> [N, C]; outside the volume its border's."""
        seen = project(points[None], self.camera, CAMERA)[0]
        pixels = to_pixels(seen, self.size) / GRID_STRIDE
        place = torch.stack([pixels[:, 1], pixels[:, 0], self.per_unit * (seen[:, 2] - CAMERA.near)], -1)
        return _interpolate(self.values, place)


def _interpolate(values: Tensor, place: Tensor) -> Tensor:
    """Trilinear: values [H, W, S, C] at places [N, 3] in nodes -> [N, C]; outside the border's. As a sum of bags, which
    is quicker on a CPU than ``grid_sample`` is along three axes."""
    last = place.new_tensor(values.shape[:3]) - 1
    place = place.clamp(min=0).minimum(last)
    low = place.floor().minimum(last - 1)
    _, width, samples = values.shape[:3]
    steps = (torch.tensor([0, n], device=place.device) for n in (width * samples, samples, 1))
    corners = torch.cartesian_prod(*steps).sum(-1)  # [8]
    y, x, z = low.long().unbind(-1)
    index = ((y * width + x) * samples + z)[:, None] + corners  # [N, 8]
    beyond = place - low
    down, right, further = torch.stack([1 - beyond, beyond], -1).unbind(1)  # [N, 2] each
    weights = ((down[:, :, None] * right[:, None])[..., None] * further[:, None, None]).flatten(1)
    return F.embedding_bag(index, values.flatten(0, 2), per_sample_weights=weights, mode="sum")


def _nodes(generator: Generator, camera: Tensor) -> Tensor:
    """Every second sample of every second ray of a camera [1, 2] -> [H, W, S, 3]."""
    size = generator.config.lowres_size
    depths = sample_depths(CAMERA, generator.config.num_samples, device=camera.device)[::GRID_STRIDE]
    points = cast_rays(camera, CAMERA, size).at(depths).unflatten(1, (size, size))[0]
    return points[::GRID_STRIDE, ::GRID_STRIDE].contiguous()


class Weights(NamedTuple):
    """Skinning weights of what stays and of the joints of joint_eulers, in neutral pose; on the CPU."""

    volume: RayVolume

    def at(self, points: Tensor) -> Tensor:
        """Points of the neutral pose [N, 3] -> [N, 7], rows sum to 1."""
        found = self.volume.at(points).clamp(min=0)  # filters that were learned may have numbers below 0
        return found / found.sum(-1, keepdim=True)


@torch.inference_mode()
def skinning_weights(generator: Generator, body: FastBody) -> Weights:
    """The weights of the nearest vertices of a body at rest, smoothed as D^p smooths their transforms.

    D^p has a filter for each entry of a transform; weights have one number a joint, which takes the mean filter.
    """
    config, count = generator.config, body.weights.shape[1]
    vertices = body.vertices(body.pose(torch.zeros(6, 3)))
    index = nearest_vertices(_nodes(generator, _FRONT).to(vertices), vertices)
    entries = F.pad(body.weights, (0, _ENTRIES - count))
    if config.pose == "smoothed":
        filters = [part.mean(-1, keepdim=True).expand_as(part) for part in filters_of(generator.pose_deformation)]
        values = smooth_entries(entries, index, (filters[0], filters[1]))
    else:
        still = F.one_hot(torch.tensor(0), _ENTRIES).to(entries)
        values = entries[index] if config.pose == "nearest" else still.expand(*index.shape, -1)
    return Weights(RayVolume.of(values[..., :count].cpu(), _FRONT, generator))


class SmoothedSkinning:
    """Poses points as the method's rays see them: by the inverse of inverse skinning that D^p smooths.

    D^p smooths each entry of the transforms by a filter of its own, in posed space along a camera's rays: linear blend
    skinning comes near, and is where this starts.

    Args:
        generator: whose pose is "smoothed", on its device.
        body: of the person.
    """

    def __init__(self, generator: Generator, body: FastBody):
        self._generator, self._body = generator, body
        self._filters = filters_of(generator.pose_deformation)
        # Canonical space may be the mean person's: then people at rest are not as they are there.
        self._shapes = generator.config.canonical_shape == "mean"
        self._at_rest = self._volume(torch.zeros(6, 3), _FRONT) if self._shapes else None

    def _volume(self, joint_eulers: Tensor, camera: Tensor) -> RayVolume:
        """Posed -> neutral, of a camera [1, 2] on the CPU: the entries of transforms."""
        device = self._generator.manifolds.levels.device
        pose = Pose(*(part.to(device) for part in self._body.pose(joint_eulers)))
        index = nearest_vertices(_nodes(self._generator, camera.to(device)), self._body.vertices(pose))
        values = smooth_entries(self._body.inverse_transforms(pose), index, self._filters)
        return RayVolume.of(values, camera.to(device), self._generator)

    def rest(self, neutral: Tensor) -> Tensor:
        """Where points of the neutral pose [N, 3] are when the person is at rest."""
        return neutral if self._at_rest is None else _invert(self._at_rest, neutral, neutral)

    @torch.inference_mode()
    def refine(self, rest: Tensor, posed: Tensor, joint_eulers: Tensor, camera: Tensor) -> Tensor:
        """Where points of the person at rest are in a pose, by fixed point from a guess.

        Args:
            rest, posed: [N, 3]; the guess may be a hand's breadth off.
            joint_eulers: [6, 3] radians. camera: [2]. Both on the CPU.

        Returns:
            [N, 3]
        """
        neutral = rest if self._at_rest is None else _carry(self._at_rest.at(rest), rest)
        return _invert(self._volume(joint_eulers, camera[None]), neutral, posed)


def _carry(entries: Tensor, points: Tensor) -> Tensor:
    """Transforms [N, 16] of points [N, 3]."""
    rows = entries.view(-1, 4, 4)[:, :3]
    return (rows[..., :3] * points[:, None]).sum(-1) + rows[..., 3]


def _invert(volume: RayVolume, neutral: Tensor, posed: Tensor) -> Tensor:
    """Points [N, 3] that a volume's transforms carry to ``neutral``, from a guess."""
    for _ in range(_POSE_ROUNDS):
        entries = volume.at(posed)
        missing = neutral - _carry(entries, posed)
        # Back through the transform's turn, which is nearly a rotation.
        posed = posed + (entries.view(-1, 4, 4)[:, :3, :3] * missing[:, :, None]).sum(1)
    return posed


def strongest(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The INFLUENCES greatest of weights [N, J]: joints [N, 4] uint8 and their weights [N, 4], rows sum to 1."""
    greatest, joints = weights.topk(INFLUENCES, dim=-1)
    return joints.to(torch.uint8), greatest / greatest.sum(-1, keepdim=True)
