"""Poses forward: from the neutral pose to others.

The method carries points the other way (paper section 3.1), by inverse skinning that D^p smooths. A mesh that is to be
posed needs weights for linear blend skinning: those of the nearest vertices, smoothed as D^p does for the camera in
front.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.fast.body import FastBody
from inference.fast.grids import CAMERA
from inference.fast.smoothing import filters_of, smooth_entries
from inference.portable.avatar import INFLUENCES
from networks.cameras import FRONTAL, camera_frame, pixel_directions, sample_depths
from networks.manifold.generator import Generator
from networks.person.pose_deformation import GRID_STRIDE
from torch_utils.device import full_precision
from torch_utils.ops.nearest_vertex import nearest_vertices
from torch_utils.ops.pose_vertices import pose_vertices
from torch_utils.ops.pose_vertices_ref import RayVolume, View, carry

_ENTRIES = 16  # of a transform, that D^p smooths
_FRONT = torch.full((2,), FRONTAL)


def portrait_view(camera: Tensor, size: int, device: torch.device) -> View:
    """The portrait camera [2], on the CPU, as it draws pictures of ``size``^2 pixels."""
    rotation, origin = (part[0] for part in camera_frame(camera[None], CAMERA.radius))
    axes = torch.cat([rotation.T.flatten(), origin + torch.tensor(CAMERA.offset)])
    middle = 0.5 * (size - 1)
    return View(axes.to(device, non_blocking=True), middle / math.tan(math.radians(CAMERA.fov_degrees) / 2), middle)


def ray_volume(values: Tensor, generator: Generator, size: int) -> RayVolume:
    """Of values [H, W, S, C] at :class:`_Nodes` of a camera, and maybe one node further each way, for its view."""
    per_pixel = (generator.config.lowres_size - 1) / (size - 1) / GRID_STRIDE
    per_unit = (generator.config.num_samples - 1) / (CAMERA.far - CAMERA.near) / GRID_STRIDE
    return RayVolume(values, per_pixel, per_unit, CAMERA.near)


class _Nodes:
    """Every second sample of every second ray of the portrait camera."""

    def __init__(self, generator: Generator, device: torch.device):
        size = generator.config.lowres_size
        directions = pixel_directions(size, CAMERA.fov_degrees, device=device).view(size, size, 1, 3)
        depths = sample_depths(CAMERA, generator.config.num_samples, device=device)[::GRID_STRIDE, None]
        self._local = directions[::GRID_STRIDE, ::GRID_STRIDE] * depths  # [H, W, S, 3] in the camera's frame

    @full_precision()
    def at(self, view: View) -> Tensor:
        """[H, W, S, 3]"""
        axes = view.camera[:9].view(3, 3)
        return torch.addmm(view.camera[9:], self._local.view(-1, 3), axes).view(self._local.shape)


class Weights(NamedTuple):
    """Skinning weights of what stays and of the joints of joint_eulers, in neutral pose; on the CPU."""

    volume: RayVolume
    view: View

    def at(self, points: Tensor) -> Tensor:
        """Points of the neutral pose [N, 3] -> [N, 7], rows sum to 1."""
        found = self.volume.at(points, self.view).clamp(min=0)  # filters that were learned may have numbers below 0
        return found / found.sum(-1, keepdim=True)


@torch.inference_mode()
def skinning_weights(generator: Generator, body: FastBody) -> Weights:
    """The weights of the nearest vertices of a body at rest, smoothed as D^p smooths their transforms.

    D^p has a filter for each entry of a transform; weights have one number a joint, which takes the mean filter.
    """
    config, count = generator.config, body.weights.shape[1]
    size, device = config.lowres_size, body.weights.device
    vertices = body.vertices(body.pose(torch.zeros(6, 3)).to(device))
    index = nearest_vertices(_Nodes(generator, device).at(portrait_view(_FRONT, size, device)), vertices)
    entries = F.pad(body.weights, (0, _ENTRIES - count))
    if config.pose == "smoothed":
        values = smooth_entries(entries, index, filters_of(generator.pose_deformation, mean=True))
    else:
        still = F.one_hot(torch.tensor(0), _ENTRIES).to(entries)
        values = entries[index] if config.pose == "nearest" else still.expand(*index.shape, -1)
    volume = ray_volume(values[..., :count].cpu(), generator, size)
    return Weights(volume, portrait_view(_FRONT, size, torch.device("cpu")))


class SmoothedSkinning:
    """Poses points as the method's rays see them: by the inverse of inverse skinning that D^p smooths.

    D^p smooths each entry of the transforms by a filter of its own, in posed space along a camera's rays: linear blend
    skinning comes near, and is where ``pose_vertices`` starts.

    Args:
        generator: whose pose is "smoothed", on its device.
        body: of the person.
    """

    def __init__(self, generator: Generator, body: FastBody):
        self._generator, self._body = generator, body
        self._filters = filters_of(generator.pose_deformation)
        self.device = body.weights.device
        self._nodes = _Nodes(generator, self.device)
        self._view = portrait_view(_FRONT, generator.config.lowres_size, self.device)
        # Canonical space may be the mean person's: then people at rest are not as they are there.
        shapes = generator.config.canonical_shape == "mean"
        self._at_rest = self.volume(torch.zeros(6, 3), self._view) if shapes else None

    @torch.inference_mode()
    def volume(self, joint_eulers: Tensor, view: View) -> RayVolume:
        """Posed -> neutral of joint_eulers [6, 3], on the CPU, for a view of the portrait camera: entries [..., 16]."""
        pose = self._body.pose(joint_eulers).to(self.device)
        index = nearest_vertices(self._nodes.at(view), self._body.vertices(pose))
        values = smooth_entries(self._body.inverse_transforms(pose), index, self._filters)
        return ray_volume(values, self._generator, round(2 * view.middle) + 1)

    @torch.inference_mode()
    def rest(self, neutral: Tensor) -> Tensor:
        """Where points of the neutral pose [N, 3] are when the person is at rest."""
        return neutral if self._at_rest is None else settle(self._at_rest, self._view, neutral, neutral)

    @torch.inference_mode()
    def neutral(self, rest: Tensor) -> Tensor:
        """The inverse of :meth:`rest`."""
        return rest if self._at_rest is None else carry(self._at_rest.at(rest, self._view), rest)


def settle(volume: RayVolume, view: View, neutral: Tensor, guess: Tensor) -> Tensor:
    """Points [N, 3] that a volume carries to ``neutral``, by fixed point from a guess that is a hand's breadth off."""
    joints = torch.zeros(len(guess), INFLUENCES, dtype=torch.uint8, device=guess.device)
    whole = torch.eye(4, device=guess.device)
    still = whole[None], whole[:1].expand(len(guess), -1)
    return pose_vertices(guess, joints, still[1], still[0], view, neutral=neutral, volume=volume).points


def strongest(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The INFLUENCES greatest of weights [N, J]: joints [N, 4] uint8 and their weights [N, 4], rows sum to 1."""
    greatest, joints = weights.topk(INFLUENCES, dim=-1)
    return joints.to(torch.uint8), greatest / greatest.sum(-1, keepdim=True)
