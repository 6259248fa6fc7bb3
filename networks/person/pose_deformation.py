"""Pose deformation: inverse skinning on a coarse grid along the rays, smoothed by D^p (paper section 3.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_utils.device import full_precision
from torch_utils.ops.nearest_vertex import nearest_vertices

GRID_STRIDE = 2  # the volume is built on every second pixel and every second sample
KERNEL = (5, 9, 9)  # depth, height, width


@full_precision()
def inverse_vertex_transforms(lbs_weights: Tensor, joint_transforms: Tensor, shape: Tensor | None = None) -> Tensor:
    """inv(sum_j w_vj T_j): lbs_weights [V, J], joint_transforms [B, J, 4, 4] -> [B, V, 4, 4].

    With ``shape`` [B, V, 3], how far vertices lie from the mean body's in the canonical pose, they go on to the latter.
    """
    inverse = _invert_affine(torch.einsum("vj,bjmn->bvmn", lbs_weights, joint_transforms))
    if shape is None:
        return inverse
    back = torch.cat([shape, shape.new_zeros(*shape.shape[:2], 1)], -1)  # [B, V, 4]
    return inverse - torch.nn.functional.pad(back[..., None], (3, 0))


def _invert_affine(transforms: Tensor) -> Tensor:
    """Inverses of transforms [..., 4, 4] with a last row (0, 0, 0, w), by Cramer's rule: nothing to wait for on a GPU.

    w is 1 but for the rounding of skinning weights.
    """
    x, y, z, offset = transforms[..., :3, :].unbind(-1)  # columns [..., 3]
    rows = torch.stack([torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)], -2)
    rows = rows / (rows[..., 0, :] * x).sum(-1)[..., None, None]
    last = transforms[..., 3:, :] / transforms[..., 3:, 3:].square()  # (0, 0, 0, 1 / w)
    return torch.cat([torch.cat([rows, -rows @ offset[..., None] * last[..., 3:]], -1), last], -2)


def inverse_lbs_volume(points: Tensor, vertices: Tensor, inverse_transforms: Tensor) -> Tensor:
    """Inverse transform of the nearest posed vertex at grid points.

    Args:
        points: [B, H, W, S, 3] posed space.
        vertices: [B, V, 3] posed head-and-shoulder vertices.
        inverse_transforms: [B, V, 4, 4], or of it the rows that are wanted.

    Returns:
        [B, 16, S, H, W] (4 for every row), depth first.
    """
    batch, *grid = points.shape[:-1]
    index = torch.stack([nearest_vertices(*pair) for pair in zip(points, vertices, strict=True)])  # [B, H, W, S]
    rows = inverse_transforms.flatten(2)
    entries = rows.gather(1, index.reshape(batch, -1, 1).expand(-1, -1, rows.shape[-1]))  # [B, HWS, 16]
    return entries.reshape(batch, *grid, -1).permute(0, 4, 3, 1, 2)


def along_axes(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """What is linear and separable: volume [B, C, S, H, W], a matrix [s, S], [h, H], [w, W] an axis -> [B, C, s, h, w].

    Small products take a fraction of the time that interpolation and its gradient take, and add up in a fixed order.
    """
    depth, height, width = matrices
    volume = height @ (volume.reshape(-1, volume.shape[-1]) @ width.T).reshape(*volume.shape[:4], -1)
    return (depth @ volume.flatten(3)).unflatten(3, volume.shape[3:])


def doubled(signals: Tensor) -> Tensor:
    """Signals [N, 1, L] -> [N, 1, 2 L], linearly interpolated: an axis of D^p's upsampling."""
    return F.interpolate(signals, scale_factor=GRID_STRIDE, mode="linear", align_corners=False)


def units(length: int, like: Tensor) -> Tensor:
    """The signals [L, 1, L] that are 1 at one place: what a linear function makes of them is its matrix, transposed."""
    return torch.eye(length, dtype=like.dtype, device=like.device)[:, None]


class _DepthwiseConv3d(torch.autograd.Function):
    """conv3d of every channel with a filter of its own; gradients by FFT.

    With D^p's 405 taps the gradients of ``F.conv3d`` take a hundred times as long as its values on a CPU.
    """

    @staticmethod
    def forward(ctx, volume: Tensor, weight: Tensor) -> Tensor:
        """volume [B, C, S, H, W], weight [C, 1, s, h, w] -> valid cross-correlation [B, C, S-s+1, H-h+1, W-w+1]."""
        ctx.save_for_backward(volume, weight)
        return F.conv3d(volume, weight, groups=volume.shape[1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        volume, weight = ctx.saved_tensors
        size, axes = volume.shape[2:], (-3, -2, -1)
        spectrum = torch.fft.rfftn(gradient, s=size, dim=axes)
        to_volume = to_weight = None
        if ctx.needs_input_grad[0]:  # the full convolution; the volume's size holds it without wrapping round
            product = spectrum * torch.fft.rfftn(weight[:, 0], s=size, dim=axes)
            to_volume = torch.fft.irfftn(product, s=size, dim=axes)
        if ctx.needs_input_grad[1]:
            product = (torch.fft.rfftn(volume, dim=axes) * spectrum.conj()).sum(0)
            depth, height, width = weight.shape[2:]
            to_weight = torch.fft.irfftn(product, s=size, dim=axes)[:, None, :depth, :height, :width]
        return to_volume, to_weight


class PoseDeformationProcessor(nn.Module):
    """D^p: two normalised depthwise 3D convolutions with a x2 trilinear upsampling between them.

    They start as mean filters. Weights are divided by their sum, so that a constant transform passes unchanged.
    """

    def __init__(self):
        super().__init__()
        self.weight1 = nn.Parameter(torch.ones(16, 1, *KERNEL) / torch.Size(KERNEL).numel())
        self.weight2 = nn.Parameter(torch.ones(16, 1, *KERNEL) / torch.Size(KERNEL).numel())

    @staticmethod
    def _smooth(volume: Tensor, weight: Tensor) -> Tensor:
        weight = weight / weight.sum((2, 3, 4), keepdim=True)
        depth, height, width = (k // 2 for k in KERNEL)
        volume = F.pad(volume, (width, width, height, height, depth, depth), mode="reflect")
        return _DepthwiseConv3d.apply(volume, weight)

    @full_precision()
    def forward(self, volume: Tensor) -> Tensor:
        """Inverse transforms [B, 16, S/2, H/2, W/2], or their first entries -> smoothed [B, 16, S, H, W], as many."""
        entries = volume.shape[1]
        volume = self._smooth(volume, self.weight1[:entries])
        volume = along_axes(volume, [doubled(units(length, volume))[:, 0].T for length in volume.shape[2:]])
        return self._smooth(volume, self.weight2[:entries])


def apply_volume(volume: Tensor, points: Tensor) -> Tensor:
    """Transform the point of every cell: volume [B, 12 or 16, S, H, W], points [B, H, W, S, 3] -> [B, H, W, S, 3]."""
    x, y, z = points.permute(0, 4, 3, 1, 2).unbind(1)  # [B, S, H, W] each
    rows = [volume[:, i] * x + volume[:, i + 1] * y + volume[:, i + 2] * z + volume[:, i + 3] for i in (0, 4, 8)]
    return torch.stack(rows, -1).permute(0, 2, 3, 1, 4)
