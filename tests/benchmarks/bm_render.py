"""Seconds and peak memory of a person and of a frame.

    python -m tests.benchmarks.bm_render                # the released size: 512^2, 24 manifolds, 256 samples a ray
    python -m tests.benchmarks.bm_render --size demo    # ckpts/demo.pt
    python -m tests.benchmarks.bm_render --profile      # where a frame's time goes

The released size is timed with random weights of that size on the embedded body: time does not depend on the values.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from inference.pipeline import PortraitPipeline
from networks.body_assets import embedded_body, head_shoulder_vertices
from networks.generator import Generator, GeneratorConfig
from networks.saved_model import SavedModel
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli

DEMO = Path(__file__).resolve().parents[2] / "ckpts" / "demo.pt"
# The released code, measured on two CPU cores; it peaked at 9.7 GB.
RELEASED_SECONDS = {"person": 73.0, "frame": 42.0}


def random_pipeline(device: torch.device) -> PortraitPipeline:
    """The released size with random weights."""
    torch.manual_seed(0)
    body = embedded_body()
    generator = Generator(GeneratorConfig(), body, torch.as_tensor(head_shoulder_vertices(body)))
    return PortraitPipeline(SavedModel(generator, None, {}), device)


def timed(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of ``repeats`` calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_memory(device: torch.device) -> float:
    """GiB: of the process on a CPU, of the allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_render")
    parser.add_argument("--size", choices=("released", "demo"), default="released")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=3, help="frames to take the median of")
    parser.add_argument("--profile", action="store_true", help="print the operators a frame spends its time in")
    args = parser.parse_args()
    if args.frames < 1:
        raise UserError(f"--frames: expected a positive number, found {args.frames}")

    device = resolve_device(args.device)
    demo = args.size == "demo"
    pipe = PortraitPipeline.from_checkpoint(DEMO, device=device) if demo else random_pipeline(device)
    config = pipe.generator.config
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{args.size}: {config.image_size}^2, {config.num_manifolds} manifolds, {name}, torch {torch.__version__}")

    start = time.perf_counter()
    person = pipe.person(seed=0)
    if device.type == "cuda":
        torch.cuda.synchronize()
    rows = [("person", time.perf_counter() - start, peak_memory(device))]
    expression, eulers = torch.randn(64) * 0.3, torch.randn(6, 3) * 0.1

    def render() -> object:
        return person.render(expression, eulers, (1.5, 1.7))

    render()  # warm up
    rows.append(("frame", timed(render, device, args.frames), peak_memory(device)))
    for label, seconds, memory in rows:
        released = RELEASED_SECONDS[label]
        ratio = "" if demo else f"   {released / seconds:5.1f} x as fast as the released code's {released:.0f} s"
        print(f"{label:8s} {seconds:8.3f} s   peak {memory:5.2f} GiB{ratio}")
    if args.profile:
        with torch.profiler.profile() as profile:
            render()
        sys.stdout.write(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=20))


if __name__ == "__main__":
    run_cli(main)
