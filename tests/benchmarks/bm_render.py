"""Seconds and peak memory of a person and of a frame.

    python -m tests.benchmarks.bm_render                # the released size: 512^2, 24 manifolds, 256 samples a ray
    python -m tests.benchmarks.bm_render --size demo    # ckpts/demo.safetensors
    python -m tests.benchmarks.bm_render --size demo --compare 16   # fast frames and layers against exact ones
    python -m tests.benchmarks.bm_render --profile      # where a frame's time goes

The released size is timed with random weights of that size on the open body: time does not depend on the values.
On a CPU, seconds of all its threads are printed, too: where other programs take turns, these say more.
"""

import argparse
import functools
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from inference.arguments import QUALITIES
from inference.keyframes import Kind, Motion, load_expressions, load_keyframes, make_motion
from inference.person import Person
from inference.pipeline import DEMO, PortraitPipeline
from networks.compositing import Frame
from networks.manifold.generator import Generator, GeneratorConfig
from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.saved_model import SavedModel
from tests.benchmarks.records import add_record, record
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli

ROOT = Path(__file__).resolve().parents[2]
POSES, CAMERAS = ("pose.npy", "joint_eulers.npy"), ("camera.npy", "camera_pose.npy")  # of a folder, where it has them
# The released code, measured on two CPU cores; it peaked at 9.7 GB.
RELEASED_SECONDS = {"person": 73.0, "exact": 42.0, "fast": 42.0, "layers": 42.0}


class Cost(NamedTuple):
    wall: float  # seconds
    cpu: float  # seconds of all threads


def random_pipeline(device: torch.device) -> PortraitPipeline:
    """The released size with random weights."""
    torch.manual_seed(0)
    body = default_body()
    generator = Generator(GeneratorConfig(), body, torch.as_tensor(head_shoulder_vertices(body)))
    return PortraitPipeline(SavedModel(generator, None, {}), device)


def timed(function: Callable[[], object], device: torch.device, repeats: int = 1) -> Cost:
    """Medians of ``repeats`` calls."""
    costs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        costs.append(Cost(time.perf_counter() - wall, time.process_time() - cpu))
    return Cost(*(statistics.median(part) for part in zip(*costs, strict=True)))


def peak_memory(device: torch.device) -> float:
    """GiB: of the process on a CPU, of the allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def psnr(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """Of images in -1..1, dB."""
    return -10 * torch.log10(((ours - expected) / 2).square().mean()).item()


def motion_of(args: argparse.Namespace, face_model: str | None) -> Motion:
    """The keyframes to compare on: --keyframes' own, or those that ship, eight frames from one to the next."""
    folder = Path(args.keyframes or ROOT / "keyframes")
    expression = load_expressions(folder / "expression.npz", face_model)
    if args.keyframes is None:
        return make_motion(expression, load_keyframes(folder / "pose.npy", "pose"), None, n_interval=8)
    files: dict[Kind, tuple[str, ...]] = {"pose": POSES, "camera": CAMERAS}
    found = {
        kind: next((folder / name for name in names if (folder / name).exists()), None) for kind, names in files.items()
    }
    keys = [None if path is None else load_keyframes(path, kind) for kind, path in found.items()]
    return make_motion(expression, *keys, n_interval=1)


def render(person: Person, motion: Motion, i: int, quality: str) -> Frame:
    rows = (torch.from_numpy(part[i]).float() for part in (motion.expression, motion.joint_eulers))
    return person.render(*rows, camera=tuple(motion.camera[i].tolist()), quality=quality)


def compare(
    person: Person, motion: Motion, count: int, qualities: Sequence[str], device: torch.device
) -> dict[str, float]:
    """Draws pairs of neighbouring frames, spread over the motion, exact and by other qualities in turn.

    Popping shows in the difference between neighbours: it should be as large in other frames as in exact ones.
    """
    others = [name for name in qualities if name != "exact"]
    pairs = [(i, min(i + 1, motion.n_frames - 1)) for i in np.linspace(0, motion.n_frames - 2, count).astype(int)]
    closeness: dict[str, list[float]] = {name: [] for name in others}
    ratios: dict[str, list[float]] = {name: [] for name in others}
    rates: dict[str, list[float]] = {name: [] for name in others}
    popping: dict[str, list[float]] = {name: [] for name in others}
    for pair in pairs:
        images: dict[str, list[torch.Tensor]] = {name: [] for name in ("exact", *others)}
        for i in pair:
            seconds = {}
            for name in images:
                draw = functools.partial(render, person, motion, i, name)
                seconds[name] = timed(lambda draw=draw, to=images[name]: to.append(draw().image), device).wall
            for name in others:
                closeness[name].append(psnr(images[name][-1], images["exact"][-1]))
                ratios[name].append(seconds["exact"] / seconds[name])
                rates[name].append(1 / seconds[name])
        change = {name: (after - before).abs().mean().item() for name, (before, after) in images.items()}
        for name in others:
            popping[name].append(change[name] / max(change["exact"], 1e-9))
    figures = {}
    for name in others:
        faster, rate, close = statistics.median(ratios[name]), statistics.median(rates[name]), closeness[name]
        print(f"{name} against exact, {len(close)} frames: {faster:.1f} x as fast (interleaved), {rate:.1f} a second")
        print(f"PSNR: least {min(close):.1f} dB, median {statistics.median(close):.1f} dB")
        span = f"{min(popping[name]):.3f} to {max(popping[name]):.3f}, median {statistics.median(popping[name]):.3f}"
        print(f"difference from a frame to the next, {name} / exact: {span}")
        figures[f"{name} / exact, x"] = faster
        figures["PSNR, least, dB" if name == "fast" else f"{name}, PSNR, least, dB"] = min(close)
    return figures


def check_args(args: argparse.Namespace) -> None:
    for name in ("frames", "compare"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}: expected a positive number, found {value}")
    if args.keyframes is not None and args.compare is None:
        raise UserError("--keyframes: expected together with --compare")


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_render")
    parser.add_argument("--size", choices=("released", "demo"), default="released")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--quality", choices=QUALITIES, nargs="+", default=QUALITIES, help="to time (default: all)")
    parser.add_argument("--frames", type=int, default=3, help="frames to take the median of")
    compare_help = (
        "compare fast frames and layers with exact ones on N pairs of neighbouring frames of a motion (default: 8)"
    )
    parser.add_argument("--compare", type=int, nargs="?", const=8, metavar="N", help=compare_help)
    keyframes_help = "folder of tracked keyframes for --compare, as python -m inference.keyframes writes it "
    keyframes_help += "(default: the shipped keyframes)"
    parser.add_argument("--keyframes", metavar="FOLDER", help=keyframes_help)
    parser.add_argument("--profile", action="store_true", help="print the operators a frame spends its time in")
    add_record(parser)
    args = parser.parse_args()
    check_args(args)
    device = resolve_device(args.device)
    demo = args.size == "demo"
    pipe = PortraitPipeline.from_checkpoint(DEMO, device=device) if demo else random_pipeline(device)
    motion = motion_of(args, pipe.face_model)
    config = pipe.generator.config
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.size}: {config.image_size}^2, {config.num_manifolds} manifolds, {name}, torch {torch.__version__}")

    people: list[Person] = []
    figures: dict[str, float] = {}

    def report(label: str, cost: Cost) -> None:
        figures[f"{label}, s"] = cost.wall
        released = RELEASED_SECONDS.get(label)
        ratio = "" if demo or not released else f"   {released / cost.wall:6.1f} x as fast as the released code"
        print(f"{label:12s} {cost.wall:8.3f} s {cost.cpu:8.3f} s of CPU   peak {peak_memory(device):5.2f} GiB{ratio}")

    report("person", timed(lambda: people.append(pipe.person(seed=0, psi=0.7)), device))
    person = people[0]
    for quality in args.quality:
        report(f"first {quality}", timed(lambda q=quality: render(person, motion, 0, q), device))  # tables, compilation
        report(quality, timed(lambda q=quality: render(person, motion, 1, q), device, args.frames))
        if args.profile:
            with torch.profiler.profile() as profile:
                render(person, motion, 1, quality)
            sys.stdout.write(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))
    if args.compare:
        figures |= compare(person, motion, args.compare, args.quality, device)
    if args.record:
        record("bm_render", {**figures, "peak memory, GiB": peak_memory(device)}, device)


if __name__ == "__main__":
    run_cli(main)
