"""What a model's frames look up: s of canonical points in a grid, and the nodes where frames evaluate D^e."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from networks.cameras import PORTRAIT_CAMERA
from networks.manifold.generator import POINTS_PER_CHUNK, Generator
from networks.manifold.generator_config import GeneratorConfig
from torch_utils.ops.march_rays import BoxGrid

CAMERA = PORTRAIT_CAMERA
# What the portrait camera sees from any side, and a margin: a cube around the centre of its orbit. Canonical units.
HALF_REACH = 0.28
FIELD_SPACING = 0.005  # between the nodes of s: 6 pixels of a 512^2 image
# Between those of D^e, x, y and z: that leaves people their shape, that knows everybody's, and that opens lids and lips
# to a canonical face, which it does alike for all that lies behind one another.
OWN_SPACING, MEAN_SPACING, OPEN_SPACING = (0.0125,) * 3, (0.0075,) * 3, (0.005, 0.005, 0.0125)
# D^e is evaluated where a manifold is so near, canonical units; it hardly moves points by more.
OWN_MARGIN, MEAN_MARGIN = 0.0125, 0.0225
# On a CPU, only where a ray is, too: in such cubes of nodes, and their neighbours.
CUBE = 2


def _chunks(points: Tensor) -> tuple[Tensor, ...]:
    return points.split(POINTS_PER_CHUNK.get(points.device.type, POINTS_PER_CHUNK["cuda"]))


def nodes_of_reach(spacing: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Points of a grid over the reach of the rays [Z, Y, X, 3], and its box [6]; see BoxGrid. Spacing of x, y, z."""
    steps = [round(2 * HALF_REACH / along) for along in spacing]
    x, y, z = (torch.linspace(-HALF_REACH, HALF_REACH, count + 1, device=device) for count in steps)
    z, y, x = torch.meshgrid(z, y, x, indexing="ij")
    centre = torch.tensor(CAMERA.offset, device=device)
    per_unit = [centre.new_full((1,), count / (2 * HALF_REACH)) for count in steps]  # filled there: nothing waits
    return torch.stack([x, y, z], -1) + centre, torch.cat([centre - HALF_REACH, *per_unit])


def scalars(generator: Generator, points: Tensor) -> Tensor:
    """s at canonical points [..., 3] -> [...]."""
    return torch.cat([generator.manifolds(part) for part in _chunks(points.reshape(-1, 3))]).reshape(points.shape[:-1])


def displacement_grid(config: GeneratorConfig) -> tuple[tuple[float, ...], float]:
    """Spacing and margin of D^e's nodes."""
    if not config.expression or config.canonical_shape != "mean":
        return OWN_SPACING, OWN_MARGIN
    return OPEN_SPACING if config.canonical_face == "open" else MEAN_SPACING, MEAN_MARGIN


def near_manifolds(s: Tensor, levels: Tensor, spacing: Sequence[float], margin: float) -> Tensor:
    """Which nodes have a manifold within ``margin``: s [Z, Y, X] -> bool [Z, Y, X]."""
    beside = [round(margin / along) for along in reversed(spacing)]

    def most(values: Tensor) -> Tensor:
        return F.max_pool3d(values[None], [2 * count + 1 for count in beside], stride=1, padding=beside)[0]

    return (most(s) >= levels.min()) & (-most(-s) <= levels.max())


def tabulate(generator: Generator, coarse: Tensor, near: Tensor) -> BoxGrid:
    """s of canonical points: M's own at nodes in cells with a corner that is ``near`` manifolds; elsewhere no level is
    reached, and ``coarse`` s, interpolated, will do."""
    nodes, box = nodes_of_reach((FIELD_SPACING,) * 3, coarse.device)

    def refine(values: Tensor) -> Tensor:
        size = nodes.shape[:3]
        return F.interpolate(values[None, None], size=size, mode="trilinear", align_corners=True)[0, 0]

    values, near = refine(coarse), refine(near.float()) > 0
    values[near] = scalars(generator, nodes[near])
    return BoxGrid(values[..., None], box)


def cubes_of(index: Tensor, size: Sequence[int]) -> Tensor:
    """Flat indices of nodes -> those of the cubes they are in, CUBE nodes a side."""
    z, y, x = index // (size[1] * size[2]), index // size[2] % size[1], index % size[2]
    return ((z // CUBE) * (size[1] // CUBE + 1) + y // CUBE) * (size[2] // CUBE + 1) + x // CUBE


def reach(config: GeneratorConfig, stride: int) -> int:
    """How many cubes away from a node of the transforms the nodes can be that samples around it need."""
    across = 2 * CAMERA.far * math.tan(math.radians(CAMERA.fov_degrees / 2)) / (config.lowres_size - 1)
    along = (CAMERA.far - CAMERA.near) / (config.num_samples - 1)
    half_diagonal = 0.5 * stride * math.hypot(across, across, along) / min(displacement_grid(config)[0])
    return math.ceil((half_diagonal + 1) / CUBE)
