"""Frames a second of Gaussian splatting: the compiled op against plain torch, forward and backward.

    python -m tests.benchmarks.bm_splat
    python -m tests.benchmarks.bm_splat --num 300000 --size 1024

The Gaussians lie on a sphere that fills the picture, as densely as an avatar's lie on a person: their scale is the mean
distance of neighbours. Ways are measured in turn, in one run; figures are medians.
"""

import math
from functools import partial

import torch
from torch import Tensor

from tests.benchmarks.bm_ray_manifold import measure, report
from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from torch_utils.ops.splat import splat


def make_scene(count: int, size: int, device: torch.device) -> dict[str, Tensor]:
    """Gaussians on a unit sphere, 4 away from a camera of 30 degrees."""
    random = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(count, 3, generator=random), dim=-1)
    quaternions = torch.randn(count, 4, generator=random)
    spacing = math.sqrt(4 * math.pi / count)
    scales = spacing * torch.rand(count, 3, generator=random).mul(2).sub(1).exp()
    colours, opacities = torch.rand(count, 3, generator=random), torch.rand(count, generator=random)
    world_to_camera = torch.eye(4)
    world_to_camera[2, 3] = 4
    focal = size / 2 / math.tan(math.radians(15))
    intrinsics = torch.tensor([focal, focal, size / 2, size / 2])
    scene = {"means": means, "quaternions": quaternions, "scales": scales, "opacities": opacities, "colours": colours}
    scene |= {"world_to_camera": world_to_camera, "intrinsics": intrinsics}
    return {name: value.to(device) for name, value in scene.items()}


def learn(scene: dict[str, Tensor], size: tuple[int, int], impl: str) -> None:
    """A frame, and gradients of all that is learned."""
    leaves = {name: value.detach().requires_grad_() for name, value in list(scene.items())[:5]}
    result = splat(**{**scene, **leaves}, size=size, impl=impl)
    (result.image.square().sum() + result.alpha.sum() + result.depth.sum()).backward()


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_splat")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--num", type=int, default=50_000, help="Gaussians (default: %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="pixels a side (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=11, help="turns to take the median of")
    add_record(parser)
    args = parser.parse_args()
    for name in ("num", "size", "repeats"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name}: expected a whole number from 1, found {getattr(args, name)}")

    device = resolve_device(args.device)
    native = "cuda" if device.type == "cuda" else "cpp"
    machine = torch.cuda.get_device_name(device) if native == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{machine}, torch {torch.__version__}, float32")
    scene, size = make_scene(args.num, args.size, device), (args.size, args.size)
    turns = partial(measure, device=device, repeats=args.repeats, slow_repeats=min(2, args.repeats))
    title = f"{args.num} Gaussians at {args.size}^2"
    with torch.no_grad():
        frames = turns({impl: partial(splat, **scene, size=size, impl=impl) for impl in ("ref", native)})
    figures = report(f"splat, {title}", frames)
    print(f"  {native}: {1 / frames[native].seconds:.1f} frames a second")
    figures["splat: frames/s"] = 1 / frames[native].seconds
    steps = turns({impl: partial(learn, scene, size, impl) for impl in ("ref", native)})
    figures |= report(f"splat, forward and backward, {title}", steps)
    if args.record:
        record("bm_splat", figures, device)


if __name__ == "__main__":
    run_cli(main)
