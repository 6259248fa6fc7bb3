"""From posed-space rays to crossings in plain torch: what the compiled implementations must agree with."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_utils.ops.ray_manifold_ref import find_crossings_ref, interpolate_ref


class BoxGrid(NamedTuple):
    """Values at the nodes of a box that is parallel to the axes; outside, the box's border counts."""

    values: Tensor  # [Z, Y, X, C], two nodes at least along each axis
    box: Tensor  # [6]: the lowest x, y, z and the number of nodes in a canonical unit along x, y, z

    def at(self, points: Tensor) -> Tensor:
        """Trilinear interpolation at points [N, 3] (x, y, z) -> [N, C]."""
        position = (points - self.box[:3]) * self.box[3:]
        nodes = self.values.shape[2::-1]  # along x, y, z; numbers of the host, or a GPU would be waited for
        grid = torch.stack([2 * p / (n - 1) - 1 for p, n in zip(position.unbind(-1), nodes, strict=True)], -1)
        values = self.values.permute(3, 0, 1, 2)[None]
        return F.grid_sample(values, grid[None, None, None], padding_mode="border", align_corners=True)[0, :, 0, 0].T


class RayCrossings(NamedTuple):
    canonical: Tensor  # [R, K, 3]
    depth: Tensor  # [R, K] along the ray, canonical units
    valid: Tensor  # [R, K] 0 or 1


class Sampling(NamedTuple):
    """How the rays of a frame are sampled."""

    near: float
    far: float
    num_samples: int
    num_fine_samples: int
    stride: int  # pixels, and samples, from a node of the transforms to the next
    search_scale: float  # of D^e's displacements, where s is evaluated
    lookup_scale: float  # and where colour is looked up
    min_step: float  # of s, below which a crossing is put at the far end of its interval


def march_rays_ref(
    origins: Tensor, directions: Tensor, transforms: Tensor, displacement: BoxGrid, field: BoxGrid, levels: Tensor,
    sampling: Sampling,
) -> RayCrossings:  # fmt: skip
    """origins, directions [H, W, 3], transforms [H', W', S', 16]; see ``march_rays``."""
    height, width = directions.shape[:2]
    near, far, samples, fine, stride, search_scale, lookup_scale, min_step = sampling
    depths = torch.linspace(near, far, samples, device=directions.device)
    points = origins[:, :, None] + directions[:, :, None] * depths[:, None]  # [H, W, S, 3]
    entries = _between_nodes(transforms, stride, (height, width, samples))[..., :12].unflatten(-1, (3, 4))
    neutral = (entries[..., :3] @ points[..., None]).squeeze(-1) + entries[..., 3]
    shift = displacement.at(neutral.flatten(0, 2))[:, :3].reshape(neutral.shape)

    def fine_points(scale: float) -> Tensor:
        displaced = (neutral + scale * shift).flatten(0, 1).transpose(1, 2)  # [R, 3, S]
        return F.interpolate(displaced, size=fine, mode="linear", align_corners=True).transpose(1, 2)

    s = field.at(fine_points(search_scale).flatten(0, 1)).reshape(height * width, fine)
    index, weight, valid = find_crossings_ref(s, levels, either_direction=False, min_step=min_step)
    canonical = interpolate_ref(fine_points(lookup_scale), index, weight)
    return RayCrossings(canonical, near + (far - near) / (fine - 1) * (index + weight), valid.to(s.dtype))


def _between_nodes(transforms: Tensor, stride: int, size: tuple[int, int, int]) -> Tensor:
    """[H', W', S', 16] at every stride-th pixel and sample -> at all [H, W, S, 16]."""
    if stride == 1:
        return transforms
    volume = transforms.permute(3, 0, 1, 2)[None]
    nodes = [stride * (n - 1) + 1 for n in transforms.shape[:3]]
    volume = F.interpolate(volume, size=nodes, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)
    return volume[: size[0], : size[1], : size[2]]
