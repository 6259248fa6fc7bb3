"""The march by hand on fields whose crossings have a closed form, and the implementations against one another."""

import math

import pytest
import torch
from torch import Tensor

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops.march_rays import BoxGrid, Sampling, march_rays

SAMPLING = Sampling(
    near=1.0, far=3.0, num_samples=9, num_fine_samples=33, stride=2, search_scale=1.0, lookup_scale=1.0, min_step=0.0
)  # fmt: skip
FLOAT = 3e-6  # a few roundings of numbers near 2 in float32
HALF = 3.0  # the boxes reach so far each way


def make_grid(function, channels: int, nodes=(9, 7, 5)) -> BoxGrid:
    """A box of nodes that hold function(points [..., 3]) [..., C]."""
    z, y, x = torch.meshgrid(*(torch.linspace(-HALF, HALF, n) for n in nodes), indexing="ij")
    per_unit = torch.tensor([(n - 1) / (2 * HALF) for n in reversed(nodes)])
    return BoxGrid(
        function(torch.stack([x, y, z], -1)).expand(*nodes, channels), torch.cat([torch.full((3,), -HALF), per_unit])
    )


def make_rays(height=4, width=6) -> tuple[Tensor, Tensor]:
    """Rays from z = 2 downwards, a little apart."""
    y, x = torch.meshgrid(torch.linspace(-0.2, 0.3, height), torch.linspace(-0.4, 0.1, width), indexing="ij")
    directions = torch.nn.functional.normalize(torch.stack([x, y, -torch.ones_like(x)], -1), dim=-1)
    return torch.tensor([0.1, -0.1, 2.0]).expand(height, width, 3), directions


def identity_nodes(height=4, width=6, samples=9, stride=2) -> Tensor:
    nodes = [-(-(n - 1) // stride) + 1 for n in (height, width, samples)]
    return torch.eye(4).flatten().expand(*nodes, 16)


def height_field(points: Tensor) -> Tensor:
    return points[..., 2:]


def nothing(points: Tensor) -> Tensor:
    return torch.zeros(1)


def march(impl, device, *, transforms=None, displacement=nothing, field=height_field, levels=(0.4, -0.3), **changes):
    origins, directions = make_rays()
    stride = changes.get("stride", SAMPLING.stride)
    transforms = identity_nodes(stride=stride) if transforms is None else transforms
    grids = [BoxGrid(*(part.to(device) for part in make_grid(*f))) for f in ((displacement, 4), (field, 1))]
    tensors = [part.to(device) for part in (origins, directions, transforms)]
    found = march_rays(*tensors, *grids, torch.tensor(levels, device=device), SAMPLING._replace(**changes), impl=impl)
    return [part.cpu() for part in found]


# ---- closed form --------------------------------------------------------------------------------------------------


@over_implementations
def test_planes(impl, device):
    """s = z: the ray is at level l where 2 + depth * dz = l; levels above the camera or beyond far are not found."""
    canonical, depth, valid = march(impl, device, levels=(2.5, 0.4, -0.3, -2.0))
    origins, directions = (part.reshape(-1, 1, 3) for part in make_rays())
    expected = (2 - torch.tensor([0.4, -0.3])) / -directions[..., 2]
    assert torch.equal(valid, torch.tensor([0.0, 1, 1, 0]).expand(24, 4))
    assert (depth[:, 1:3] - expected).abs().max() < FLOAT
    assert (canonical[:, 1:3] - (origins + expected[..., None] * directions)).abs().max() < FLOAT
    assert (depth[:, [0, 3]] - 3).abs().max() < FLOAT  # the last sample stands in
    assert (canonical[:, [0, 3]] - (origins + 3 * directions)).abs().max() < FLOAT


@over_implementations
def test_displacement_and_its_scales(impl, device):
    """s = z + 0.2 (where searched), read at z + 0.1 and x - 0.3 (where looked up)."""
    canonical, depth, valid = march(
        impl, device, displacement=lambda p: torch.tensor([-0.6, 0, 0.2, 99]), lookup_scale=0.5
    )
    origins, directions = (part.reshape(-1, 1, 3) for part in make_rays())
    expected = (2.2 - torch.tensor([0.4, -0.3])) / -directions[..., 2]
    assert valid.all() and (depth - expected).abs().max() < FLOAT
    shift = torch.tensor([-0.3, 0, 0.1])
    assert (canonical - (origins + expected[..., None] * directions + shift)).abs().max() < FLOAT


@over_implementations
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transforms_are_interpolated_between_nodes(impl, device, stride):
    """Translations along x that are linear in row, column and sample are reproduced everywhere."""
    transforms = identity_nodes(stride=stride).clone()
    row, column, sample = (stride * torch.arange(n) for n in transforms.shape[:3])
    transforms[..., 3] = 0.01 * row[:, None, None] - 0.02 * column[:, None] + 0.03 * sample
    canonical, depth, valid = march(impl, device, transforms=transforms, stride=stride)
    origins, directions = (part.reshape(-1, 1, 3) for part in make_rays())
    ray = torch.arange(24)[:, None]
    shift = 0.01 * (ray // 6) - 0.02 * (ray % 6) + 0.03 * (depth - 1) / 2 * 8
    assert valid.all()
    expected = (origins + depth[..., None] * directions)[..., 0] + shift
    assert (canonical[..., 0] - expected).abs().max() < FLOAT


@over_implementations
def test_rising_and_flat(impl, device):
    """Rising through a level is no crossing; an interval with hardly a fall is crossed at its far end."""
    _, _, valid = march(impl, device, field=lambda p: -p[..., 2:])
    assert not valid.any()
    _, depth, valid = march(impl, device, min_step=0.5)
    steps = (depth - 1) / (2 / 32)
    assert valid.all() and (steps - steps.round()).abs().max() < 1e-4
    _, exact, _ = march(impl, device)
    assert ((depth - exact) >= -FLOAT).all() and ((depth - exact) <= 2 / 32 + FLOAT).all()


@over_implementations
def test_the_border_counts_beyond_the_box(impl, device):
    """A field that stops at z = 0.75 (its last node) is constant above."""
    nodes = torch.tensor([-3.0, 0.75])
    field = BoxGrid(nodes[:, None, None, None].expand(2, 2, 2, 1), torch.tensor([-3, -3, -3, 1 / 6, 1 / 6, 1 / 3.75]))
    origins, directions = make_rays()
    _, depth, valid = (
        part.cpu()
        for part in march_rays(
            *(part.to(device) for part in (origins, directions, identity_nodes())),
            BoxGrid(*(part.to(device) for part in make_grid(nothing, 4))),
            BoxGrid(*(part.to(device) for part in field)),
            torch.tensor([0.8, 0.7], device=device),
            SAMPLING,
            impl=impl,
        )  # fmt: skip
    )
    assert not valid[:, 0].any() and valid[:, 1].all()
    assert (depth[:, 1] - 1.3 / -directions[..., 2].flatten()).abs().max() < 2 / 32  # the fine interval with the kink


@over_implementations
def test_numbers_that_are_none(impl, device):
    """Where s is NaN nothing is crossed."""
    _, _, valid = march(impl, device, field=lambda p: torch.full((1,), math.nan))
    assert not valid.any()


# ---- implementations agree ----------------------------------------------------------------------------------------


@over_compiled
@pytest.mark.parametrize("seed", range(4))
def test_implementations_agree(impl, device, seed):
    """Smooth random transforms, displacements and a bumpy field that falls; 24 levels."""
    random = torch.Generator().manual_seed(seed)
    bumps, moves = torch.randn(3, generator=random), 0.05 * torch.randn(3, 4, generator=random)
    transforms = identity_nodes() + 0.02 * torch.randn(identity_nodes().shape, generator=random)
    arguments = dict(
        transforms=transforms,
        displacement=lambda p: torch.sin(p @ moves),
        field=lambda p: p[..., 2:] + 0.1 * torch.sin(2 * p @ bumps)[..., None],
        levels=torch.linspace(1.2, -1.2, 24).tolist(),
        search_scale=0.7,
        min_step=0.02,
        stride=2 if seed % 2 else 1,
    )
    if arguments["stride"] == 1:
        arguments["transforms"] = identity_nodes(stride=1) + 0.01 * torch.randn(4, 6, 9, 16, generator=random)
    expected, ours = march("ref", "cpu", **arguments), march(impl, device, **arguments)
    # Where s falls by just min_step, rounding decides whether to interpolate: up to one fine interval apart.
    same = (expected[1] - ours[1]).abs() < 1e-5
    assert same.float().mean() > 0.99 and torch.equal(expected[2], ours[2])
    assert expected[2].mean() > 0.5
    assert (expected[0] - ours[0])[same].abs().max() < 1e-5
    assert (expected[1] - ours[1]).abs().max() < 2 / 32


@over_implementations
def test_errors(impl, device):
    origins, directions = (part.to(device) for part in make_rays())
    displacement, field = (BoxGrid(*(p.to(device) for p in make_grid(nothing, c))) for c in (4, 1))
    good = dict(
        origins=origins, directions=directions, transforms=identity_nodes().to(device), displacement=displacement,
        field=field, levels=torch.zeros(1, device=device), sampling=SAMPLING,
    )  # fmt: skip
    for name, bad, message in [
        ("directions", directions[0], r"directions: expected shape \[H, W, 3\], found \[6, 3\]"),
        ("origins", origins[:1], r"origins: expected shape \[4, 6, 3\], found \[1, 6, 3\]"),
        ("transforms", good["transforms"][:2], r"transforms: expected shape \[3, 4, 5, 16\] or more nodes, found"),
        ("displacement", field, "displacement: expected values"),
        ("field", BoxGrid(field.values[:1], field.box), "field: expected values"),
        ("field", BoxGrid(field.values, field.box[:3]), "field: expected values"),
        ("levels", torch.zeros(65, device=device), r"levels: expected shape \[K\] with K from 1 to 64, found \[65\]"),
        ("levels", torch.zeros(1, device="meta"), "levels and directions: expected one device"),
        ("sampling", SAMPLING._replace(num_fine_samples=8), "sampling: expected stride >= 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            march_rays(**{**good, name: bad}, impl=impl)
    with pytest.raises(TypeError, match="levels: expected torch.float32, found torch.float64"):
        march_rays(**{**good, "levels": torch.zeros(1, device=device, dtype=torch.float64)}, impl=impl)
