"""A person's maps by products in bfloat16 and in float32, in turn: processor time, and how far apart the maps are.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_person                     # ckpts/demo.safetensors, which has no U
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_person --ckpt runs/s2/latest   # a model whose U has learned
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_person --size released   # random weights: times alone count

phi and U are what a person costs before the first frame. Decibels are of maps in 0..1, colours as far as they are
opaque; 8 bits a colour have 59. U's are of everything, phi's rounding included. Where a CPU has no bfloat16 products
(AVX512-BF16, AMX) pipelines round nothing.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from inference.person import rounded_products
from inference.pipeline import DEMO, PortraitPipeline
from networks.manifold.generator import PersonStyle
from tests.benchmarks.bm_render import random_pipeline
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import whole_number
from torch_utils.misc import CliParser, run_cli
from torch_utils.ops.point_network import cpu_has_bf16

CPU = torch.device("cpu")


def timed(function: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it returns, and seconds of all threads."""
    before = time.process_time()
    return function(), time.process_time() - before


def decibels(ours: Tensor, exact: Tensor) -> float:
    """Of maps [1, K, 4 or more, h, w], the worse of colours, as far as they are opaque, and opacity."""
    pairs = [[maps[:, :, :3] * maps[:, :, 3:4], maps[:, :, 3:4]] for maps in (ours.float(), exact.float())]
    errors = [(a - b).square().mean() for a, b in zip(*pairs, strict=True)]
    return -10 * torch.stack(errors).max().log10().item()


def compare(pipe: PortraitPipeline, style: PersonStyle, turns: int) -> dict[str, float]:
    """Figures of phi and, where there is one, of U."""
    generator = pipe.generator
    seconds: dict[tuple[str, bool], list[float]] = {}
    maps: dict[tuple[str, bool], Tensor] = {}
    for _ in range(turns):
        for rounded in (False, True):
            with rounded_products(CPU) if rounded else torch.autocast("cpu", enabled=False):
                low, taken = timed(lambda: generator.flat_radiance(style.radiance))
                found = {"phi": (low, taken)}
                if generator.config.superresolution:
                    found["U"] = timed(lambda low=low: generator.super_resolve(low, style.superresolution))
            for name, (made, taken) in found.items():
                maps[name, rounded] = made
                seconds.setdefault((name, rounded), []).append(taken)
    figures = {}
    for name in dict.fromkeys(name for name, _ in maps):
        exact, ours = (min(seconds[name, rounded]) for rounded in (False, True))
        middle = statistics.median(a / b for a, b in zip(seconds[name, False], seconds[name, True], strict=True))
        close = decibels(maps[name, True], maps[name, False])
        print(f"{name:4s} float32 {exact:.3f} s, bfloat16 {ours:.3f} s, {middle:.2f} x, {close:.1f} dB")
        figures |= {f"{name}, s": ours, f"{name}, float32 / bfloat16, x": middle, f"{name}, dB": close}
    return figures


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_person")
    parser.add_argument("--ckpt", default=str(DEMO), help="model of manifolds (default: ckpts/demo.safetensors)")
    parser.add_argument("--size", choices=("model", "released"), default="model", help="released: random weights")
    parser.add_argument("--seed", type=int, default=0, help="person (default: %(default)s)")
    parser.add_argument("--turns", type=whole_number(1, 1000), default=3, help="of each (default: %(default)s)")
    add_record(parser)
    args = parser.parse_args()
    if not cpu_has_bf16():
        return print("this CPU has no bfloat16 products (AVX512-BF16, AMX), or no C++ compiler: nothing is rounded")
    pipe = random_pipeline(CPU) if args.size == "released" else PortraitPipeline.from_checkpoint(args.ckpt)
    with torch.inference_mode():
        who = pipe.sample_latents(args.seed)
        style = pipe.generator.style(who.z_id[None], who.z_noise[None], psi=0.7)
        figures = compare(pipe, style, args.turns)
    if args.record:
        record("bm_person", figures, CPU)


if __name__ == "__main__":
    run_cli(main)
