"""The deformations forward: from canonical space to neutral pose with an expression, and on to a pose.

The method carries points the other way (paper section 3.1): posed -> neutral pose, by inverse skinning that D^p
smooths, -> canonical, by D^e. A mesh that is to be posed needs D^e's inverse, which is found by fixed point, and
weights for linear blend skinning: those of the nearest vertices, smoothed as D^p does for the camera in front.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.fast.body import FastBody
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


class Weights(NamedTuple):
    """Skinning weights of what stays and of the joints of joint_eulers, in the space of the frontal camera's rays."""

    values: Tensor  # [7, H, W, S]
    per_pixel: float  # nodes, of an image of lowres_size
    per_unit: float  # nodes, along a ray
    size: int  # lowres_size

    def at(self, points: Tensor) -> Tensor:
        """Points of the neutral pose [N, 3] -> [N, 7], rows sum to 1."""
        seen = project(points[None], _FRONT, CAMERA)[0]
        place = torch.cat(
            [self.per_unit * (seen[:, 2:] - CAMERA.near), self.per_pixel * to_pixels(seen, self.size)], -1
        )
        last = torch.tensor([self.values.shape[i] - 1 for i in (3, 2, 1)])  # s, x, y
        grid = (2 * place / last - 1)[None, None, None]
        found = F.grid_sample(self.values[None], grid, align_corners=True, padding_mode="border")[0, :, 0, 0].T
        found = found.clamp(min=0)  # filters that were learned may have a few numbers below 0
        return found / found.sum(-1, keepdim=True)


@torch.inference_mode()
def skinning_weights(generator: Generator, body: FastBody) -> Weights:
    """The weights of the nearest vertices of a body at rest, smoothed as D^p smooths their transforms; on the CPU.

    D^p has a filter for each entry of a transform; weights have one number a joint, which takes the mean filter.
    """
    config, count = generator.config, body.weights.shape[1]
    size, samples = config.lowres_size, config.num_samples
    stride = GRID_STRIDE
    rays = cast_rays(_FRONT, CAMERA, size).at(sample_depths(CAMERA, samples)).unflatten(1, (size, size))[0]
    vertices = body.vertices(body.pose(torch.zeros(6, 3)))
    index = nearest_vertices(rays[::stride, ::stride, ::stride].contiguous().to(vertices), vertices)
    entries = F.pad(body.weights, (0, _ENTRIES - count))
    if config.pose == "smoothed":
        filters = [part.mean(-1, keepdim=True).expand_as(part) for part in filters_of(generator.pose_deformation)]
        values = smooth_entries(entries, index, (filters[0], filters[1]))
    else:
        still = F.one_hot(torch.tensor(0), _ENTRIES).to(entries)
        values = entries[index] if config.pose == "nearest" else still.expand(*index.shape, -1)
    per_unit = (samples - 1) / (CAMERA.far - CAMERA.near) / stride
    return Weights(values[..., :count].permute(3, 0, 1, 2).cpu(), 1 / stride, per_unit, size)


def strongest(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The INFLUENCES greatest of weights [N, J]: joints [N, 4] uint8 and their weights [N, 4], rows sum to 1."""
    greatest, joints = weights.topk(INFLUENCES, dim=-1)
    return joints.to(torch.uint8), greatest / greatest.sum(-1, keepdim=True)
