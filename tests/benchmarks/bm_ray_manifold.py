"""The compiled ops against plain torch: time, ratios and peak memory, all in one run.

    python -m tests.benchmarks.bm_ray_manifold                   # the released size: 128^2 rays, 256 samples, 24 levels
    python -m tests.benchmarks.bm_ray_manifold --device cuda

Implementations take turns, so that whatever else the machine does slows all of them; figures are medians. The CPU
time of all threads stands beside the time that passed; memory is that of tensors.
"""

import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from torch_utils.ops.manifold_composite import composite_manifolds
from torch_utils.ops.ray_manifold import MIN_SCALAR_STEP, Crossings, find_crossings

# 128^2 rays, 512^2 pixels.
SIZE, UPSCALE = 128, 4
MIB = 2**20


class Measured(NamedTuple):
    seconds: float
    cpu_seconds: float
    peak: int  # bytes


def make_rays(samples: int, device: torch.device) -> Tensor:
    """s [R, S] along the rays of an image of nested spheres, a little bent; some rays cross all levels, some none."""
    random = torch.Generator().manual_seed(0)
    beside = torch.linspace(-1, 1, SIZE)
    radius = (beside[:, None] ** 2 + beside**2).flatten()[:, None]  # squared
    depth = torch.linspace(-2.5, 2.5, samples)
    bent = 0.2 * torch.sin(5 * depth + 6 * torch.rand(SIZE * SIZE, 1, generator=random))
    return (10 * (4 * radius + depth**2).sqrt() + bent).to(device)


def make_scene(levels: int, device: torch.device) -> tuple[Tensor, ...]:
    """maps, coordinates, depth and valid of a portrait-like picture: 24 layers, of which 44 % are crossed."""
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(1, levels, UPSCALE * SIZE, UPSCALE * SIZE, 4, generator=random)
    maps[..., 3] *= 0.3
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    layer = torch.arange(levels)
    coordinates = torch.stack([x, y], -1)[None, :, :, None] + 0.003 * layer[:, None]
    depth = (1.8 + 0.01 * layer).expand(1, SIZE, SIZE, levels)
    valid = (x.abs() < 0.7)[..., None] & (layer >= x.abs()[..., None] * levels)
    return tuple(part.to(device) for part in (maps, coordinates, depth.contiguous(), valid[None]))


def gather_per_level(s: Tensor, levels: Tensor) -> Crossings:
    """The usual way, as the released program does it: a pass over all samples, and gathers, for every level."""
    near, far, results = s[:, :-1], s[:, 1:], []
    for level in levels:
        found, index = ((near >= level) & (far <= level)).to(torch.uint8).max(-1, keepdim=True)
        index = torch.where(found.bool(), index, s.shape[-1] - 2)
        s_near, s_far = s.gather(-1, index), s.gather(-1, index + 1)
        flat = ~found.bool() | ((s_far - s_near).abs() <= MIN_SCALAR_STEP)
        weight = torch.where(flat, 1.0, (s_near - level) / torch.where(flat, 1.0, s_near - s_far))
        results.append((index, weight, found.bool()))
    return Crossings(*(torch.cat(parts, -1) for parts in zip(*results, strict=True)))


def learn(find: Callable[[Tensor], Crossings], impl: str, s: Tensor, points: Tensor) -> None:
    """Crossings and the positions there, forward and backward to s and positions."""
    s, points = s.detach().requires_grad_(), points.detach().requires_grad_()
    find(s).interpolate(points, impl=impl).square().sum().backward()


def learn_maps(impl: str, scene: tuple[Tensor, ...]) -> None:
    """A picture, forward and backward to the maps (training stage 2)."""
    maps = scene[0].detach().requires_grad_()
    picture = composite_manifolds(maps, *scene[1:], upscale=UPSCALE, impl=impl)
    (picture.rgb.square().sum() + picture.alpha.sum()).backward()


def peak_memory(function: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors that a call needs beyond those that were there, at its peak."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def measure(
    functions: dict[str, Callable[[], object]], device: torch.device, repeats: int, slow_repeats: int
) -> dict[str, Measured]:
    """Each function in turn, over and over; the first, the slowest, fewer times."""
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()  # warm up
    for turn in range(repeats):
        for i, (name, function) in enumerate(functions.items()):
            if i == 0 and turn >= slow_repeats:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Measured(*(statistics.median(part) for part in zip(*taken, strict=True)), peak_memory(function, device))
        for (name, taken), function in zip(seconds.items(), functions.values(), strict=True)
    }


def report(title: str, results: dict[str, Measured]) -> dict[str, float]:
    """A table; returned: how many times as fast as its first row each of the others is."""
    print(f"\n{title}\n  {'':26s} {'ms':>9s} {'CPU ms':>9s} {'faster':>8s} {'peak MiB':>9s}")
    first = next(iter(results.values()))
    for name, row in results.items():
        times = f"{1e3 * row.seconds:9.2f} {1e3 * row.cpu_seconds:9.2f} {first.seconds / row.seconds:7.1f}x"
        print(f"  {name:26s} {times} {row.peak / MIB:9.1f}")
    what = re.split(r", \d", title)[0]
    return {f"{what}: {name}, x": first.seconds / row.seconds for name, row in [*results.items()][1:]}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_ray_manifold")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=256, help="samples a ray (default: %(default)s)")
    parser.add_argument("--levels", type=int, default=24, help="levels, and layers of the picture")
    parser.add_argument("--repeats", type=int, default=11, help="turns to take the median of")
    add_record(parser)
    args = parser.parse_args()
    for name, least in {"samples": 2, "levels": 1, "repeats": 1}.items():
        if getattr(args, name) < least:
            raise UserError(f"--{name}: expected a whole number from {least}, found {getattr(args, name)}")

    device = resolve_device(args.device)
    native = "cuda" if device.type == "cuda" else "cpp"
    machine = torch.cuda.get_device_name(device) if native == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{machine}, torch {torch.__version__}, float32 unless it says otherwise")

    s, levels = make_rays(args.samples, device), torch.linspace(23, 8, args.levels, device=device)
    points = torch.randn(*s.shape, 3, device=device)
    turns = partial(measure, device=device, repeats=args.repeats, slow_repeats=min(3, args.repeats))
    ways = {
        "gather per level": (partial(gather_per_level, levels=levels), "ref"),
        "ref": (partial(find_crossings, levels=levels, impl="ref"), "ref"),
        native: (partial(find_crossings, levels=levels, impl=native), native),
    }
    size = f"{len(s)} rays x {args.samples} samples x {args.levels} levels"
    with torch.no_grad():
        figures = report(f"search, {size}", turns({name: partial(find, s) for name, (find, _) in ways.items()}))
    learning = {name: partial(learn, find, impl, s, points) for name, (find, impl) in ways.items()}
    figures |= report(f"search and positions, forward and backward, {size}", turns(learning))

    scene = make_scene(args.levels, device)
    pixels = f"{UPSCALE * SIZE}^2 pixels x {args.levels} layers, upscaled from {SIZE}^2 rays"
    pictures = {"ref": partial(composite_manifolds, *scene, upscale=UPSCALE, impl="ref")}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        maps = scene[0].to(dtype)
        name = f"{native}, {str(dtype).removeprefix('torch.')} maps"
        pictures[name] = partial(composite_manifolds, maps, *scene[1:], upscale=UPSCALE, impl=native)
    with torch.no_grad():
        figures |= report(f"picture, {pixels}", turns(pictures))
    learning = {name: partial(learn_maps, name, scene) for name in ("ref", native)}
    figures |= report(f"picture, forward and backward to the maps, {pixels}", turns(learning))
    if args.record:
        record("bm_ray_manifold", figures, device)


if __name__ == "__main__":
    run_cli(main)
