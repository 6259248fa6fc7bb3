"""Frames a second of layers of mesh: the compiled ops against plain torch.

    python -m tests.benchmarks.bm_rasterize_layers
    python -m tests.benchmarks.bm_rasterize_layers --size 512 --layers 24 --nodes 70

The layers are bent sheets over the whole picture, a third opaque in the middle; they are posed by seven joints and a
volume of transforms before they are drawn. Ways are measured in turn, in one run; figures are medians.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.benchmarks.bm_ray_manifold import measure, report
from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from torch_utils.ops.pose_vertices import pose_vertices
from torch_utils.ops.pose_vertices_ref import RayVolume, View
from torch_utils.ops.rasterize_layers import rasterize_layers

JOINTS, RAYS, SAMPLES = 7, 33, 9  # those of the demo, whose rays are 64^2


def make_meshes(layers: int, nodes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Vertices [V, 3] two away from a camera at 0 that looks along -z, uv [V, 2], triangles and where layers start."""
    along = torch.linspace(-0.2, 0.2, nodes)
    y, x = torch.meshgrid(along, along, indexing="ij")
    sheets = [torch.stack([x, y, -2 + 0.01 * k - x.square() - y.square()], -1).view(-1, 3) for k in range(layers)]
    index = torch.arange(nodes * nodes, dtype=torch.int32).view(nodes, nodes)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    mesh = torch.cat([torch.stack([a, b, c], -1).view(-1, 3), torch.stack([a, c, d], -1).view(-1, 3)])
    triangles = torch.cat([mesh + k * nodes * nodes for k in range(layers)])
    uv = (torch.stack([x, -y], -1) / 0.4 + 0.5).view(-1, 2).repeat(layers, 1)
    return torch.cat(sheets), uv, triangles, (torch.arange(layers + 1) * len(mesh)).int()


def make_pose(vertices: Tensor, size: int) -> dict[str, Any]:
    """Arguments of ``pose_vertices``: small turns about x, of joints and, smoothly, of a volume."""
    random = torch.Generator().manual_seed(0)

    def turns(angles: Tensor) -> Tensor:
        matrix = torch.eye(4).repeat(*angles.shape, 1, 1)
        matrix[..., 1, 1] = matrix[..., 2, 2] = angles.cos()
        matrix[..., 1, 2], matrix[..., 2, 1] = -angles.sin(), angles.sin()
        return matrix

    weights = torch.rand(len(vertices), 4, generator=random)
    joints = torch.randint(0, JOINTS, (len(vertices), 4), generator=random, dtype=torch.uint8)
    view = View(torch.cat([torch.eye(3).flatten(), torch.zeros(3)]), 0.5 * (size - 1) * 9.5, 0.5 * (size - 1))
    values = turns(0.02 * torch.linspace(-1, 1, RAYS)[:, None, None].expand(RAYS, RAYS, SAMPLES)).flatten(3)
    volume = RayVolume(values, (RAYS - 1) / (size - 1), (SAMPLES - 1) / 0.44, 1.78)
    return {
        "rest": vertices, "joints": joints, "weights": weights / weights.sum(1, keepdim=True), "view": view,
        "transforms": turns(0.02 * torch.randn(JOINTS, generator=random)), "neutral": vertices, "volume": volume,
    }  # fmt: skip


def make_atlas(side: int) -> Tensor:
    """Noise [side, side, 4], opaque in the middle and thinner towards the edge."""
    atlas = torch.randint(0, 256, (side, side, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    along = torch.linspace(-1, 1, side)
    opacity = (1.6 - 1.8 * (along.square() + along[:, None].square()).sqrt()).clamp(0, 1)
    atlas[..., 3] = (255 * opacity).to(torch.uint8)
    return atlas


def on(device: torch.device, value: Any) -> Any:
    """Tensors, and those in tuples, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(*(on(device, part) for part in value)) if isinstance(value, tuple) else value


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_rasterize_layers")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="pixels a side (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=20, help="layers (default: %(default)s)")
    parser.add_argument("--nodes", type=int, default=40, help="vertices a side of each layer (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="turns to take the median of")
    add_record(parser)
    args = parser.parse_args()
    for name, least in (("size", 2), ("layers", 1), ("nodes", 2), ("repeats", 1)):
        if getattr(args, name) < least:
            raise UserError(f"--{name}: expected a whole number from {least}, found {getattr(args, name)}")

    device = resolve_device(args.device)
    native = "cuda" if device.type == "cuda" else "cpp"
    machine = torch.cuda.get_device_name(device) if native == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{machine}, torch {torch.__version__}, float32")
    vertices, uv, triangles, layers = make_meshes(args.layers, args.nodes)
    pose = {name: on(device, value) for name, value in make_pose(vertices, args.size).items()}
    scene = [part.to(device) for part in (uv, triangles, layers, make_atlas(4 * args.size))]
    screen = pose_vertices(**pose).screen
    turns = partial(measure, device=device, repeats=args.repeats, slow_repeats=min(2, args.repeats))
    posed = turns({impl: partial(pose_vertices, **pose, impl=impl) for impl in ("ref", native)})
    figures = report(f"pose_vertices, {len(vertices):,} vertices", posed)
    size = (args.size, args.size)
    drawn = turns({impl: partial(rasterize_layers, screen, *scene, size, impl=impl) for impl in ("ref", native)})
    figures |= report(f"rasterize_layers, {args.layers} layers of {len(triangles):,} triangles at {args.size}^2", drawn)
    rate = 1 / (posed[native].seconds + drawn[native].seconds)
    print(f"  {native}: {rate:.1f} frames a second")
    if args.record:
        record("bm_rasterize_layers", {**figures, "layers: frames/s": rate}, device)


if __name__ == "__main__":
    run_cli(main)
