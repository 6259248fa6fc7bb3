"""M: the radiance manifolds, where rays cross them, and how they are flattened to images (paper section 3.1, GRAM)."""

import math

import torch
from torch import Tensor, nn

from networks.layers import WARP_SCALE, weight_and_bias
from torch_utils.device import full_precision
from torch_utils.ops.point_network import point_network
from torch_utils.ops.ray_manifold import Crossings as Crossings
from torch_utils.ops.ray_manifold import find_crossings as find_crossings

# The orthographic view that flattens the manifolds for U, canonical units.
FLAT_HALF_EXTENT = 0.22
FLAT_CENTRE_Y = -0.02830771
FLAT_NEAR_Z, FLAT_FAR_Z, FLAT_SAMPLES = 0.2, -0.2, 64


class ManifoldPredictor(nn.Module):
    """M: a scalar field whose level sets are the radiance manifolds; it depends on no latent.

    At initialisation s ~ 10 |warp(x) - centre|: nested spheres.

    Args:
        hidden_dim: width of the three ReLU layers.
        levels: [K] values of s, falling: the first one is the outermost manifold.
        centre: of the spheres, in warped coordinates.
    """

    levels: Tensor
    centre: Tensor

    def __init__(self, hidden_dim: int, levels: Tensor, centre: tuple[float, float, float]):
        super().__init__()
        hidden = [nn.Linear(width, hidden_dim) for width in (3, hidden_dim, hidden_dim)]
        self.hidden = nn.ModuleList(hidden)
        self.output = nn.Linear(hidden_dim, 1)
        self.register_buffer("levels", levels, persistent=False)  # [K]
        self.register_buffer("centre", torch.tensor(centre), persistent=False)  # [3]
        for layer in hidden:
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / layer.out_features))
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.output.weight, 10 * math.sqrt(math.pi / hidden_dim))
        nn.init.zeros_(self.output.bias)

    @full_precision()
    def forward(self, points: Tensor) -> Tensor:
        """Canonical points [..., 3] -> s [...]."""
        pairs = [weight_and_bias(layer) for layer in self.hidden]
        layers = [(weight.T[None], bias[None, None]) for weight, bias in pairs]
        heads = [None, None, self.output.weight]
        flat = torch.add(-self.centre, points.reshape(1, -1, 3), alpha=WARP_SCALE)
        return point_network(flat, layers, heads, self.output.bias, activation="relu").reshape(points.shape[:-1])


def orthographic_points(
    resolution: int, half_extent: float = FLAT_HALF_EXTENT, *, dtype=torch.float32, device=None
) -> Tensor:
    """Samples of the flattening view [resolution^2, S, 3], canonical; row 0 is the lowest y, z falls along a ray.

    The outer pixels' centres lie ``half_extent`` from the middle.
    """
    extent = torch.linspace(-half_extent, half_extent, resolution, dtype=dtype, device=device)
    depth = torch.linspace(FLAT_NEAR_Z, FLAT_FAR_Z, FLAT_SAMPLES, dtype=dtype, device=device)
    grid_y, grid_x, grid_z = torch.meshgrid(extent + FLAT_CENTRE_Y, extent, depth, indexing="ij")
    return torch.stack([grid_x, grid_y, grid_z], -1).reshape(-1, FLAT_SAMPLES, 3)


def flat_coordinates(points: Tensor) -> Tensor:
    """Canonical points [..., 3] -> positions [..., 2] in the flattened maps, -1..1 between the outer pixel *edges*.

    Flattening puts the outer pixels' *centres* at +-FLAT_HALF_EXTENT, the lookup their edges: maps appear shrunk by
    half a pixel towards the borders. That is the released convention (method.md, "Flattening for U"), and the weights
    of U and phi are trained through it.
    """
    return torch.stack([points[..., 0], points[..., 1] - FLAT_CENTRE_Y], -1) / FLAT_HALF_EXTENT
