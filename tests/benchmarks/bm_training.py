"""What a training step costs: images a second, peak memory, and the step against the sum of its parts.

    python -m tests.benchmarks.bm_training --config configs/synth_tiny.yaml --data datasets/synth_tiny
    python -m tests.benchmarks.bm_training --config configs/synth_stage1.yaml --data datasets/synth --preset 1x80gb

The parts are the generator's phase, the discriminators' phase, the updates and reading the data, each timed alone with
the device idle before and after. A step in one piece should cost no more than 1.3 times their sum: beyond that it waits
for something. On a CPU, seconds are of the processor (user and system), which other programs disturb less.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from tests.benchmarks.records import add_record, record
from torch_utils.config import find_config
from torch_utils.distributed import World
from torch_utils.host_memory import keep_freed_memory
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from train import CONFIGS
from training.config import load_train_config
from training.data.storage import open_dataset
from training.manifold_recipe import begin, real_pictures, train_step
from training.phases import accumulate_discriminators, accumulate_generator, camera_of
from training.recipe import STEP_KEY
from training.run.optimizers import update


def timed(function: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of ``repeats`` calls: wall clock on a GPU, of the processor on a CPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds = []
    for _ in range(repeats):
        _synchronize(device)
        start = clock()
        function()
        _synchronize(device)
        seconds.append(clock() - start)
    return statistics.median(seconds)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_training")
    parser.add_argument("--config", required=True, help="of the run")
    parser.add_argument("--data", required=True, help="data set")
    parser.add_argument("--preset", help="as of train.py")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps to take the median of (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="print the operators a step spends its time in")
    add_record(parser)
    args, overrides = parser.parse_known_args()
    if args.steps < 1:
        raise UserError(f"--steps: expected a positive number, found {args.steps}")
    preset = find_config(args.preset, CONFIGS / "presets", "--preset") if args.preset else None
    config = load_train_config(args.config, preset, overrides)
    device = resolve_device(args.device)
    task, state = begin(replace(config, expression_warmup=0), open_dataset(args.data), World(0, 1, device))
    networks, optim = state.networks, config.optim
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    precision = "bf16" if task.bf16 else config.run.precision
    print(
        f"{args.config}: stage {config.stage}, batch {optim.batch_size}, {precision}, {name}, torch {torch.__version__}"
    )

    train_step(task, state)  # warm up
    returning = None
    if device.type == "cpu":
        returning = timed(lambda: train_step(task, state), device, args.steps)
        keep_freed_memory()
        train_step(task, state)
    step = timed(lambda: train_step(task, state), device, args.steps)

    inputs = task.sampler.draw(optim.batch_size, config.seed, STEP_KEY, 0).to(device)
    batch = next(state.reader)
    reals, real_inputs = real_pictures(task, state, batch)
    _, fakes = accumulate_generator(networks, config, inputs, task.autocast, reals)
    cameras = {name: (camera_of(name, real_inputs), camera_of(name, inputs)) for name in reals}

    def generator() -> None:
        accumulate_generator(networks, config, inputs, task.autocast, reals)

    def discriminators() -> None:
        accumulate_discriminators(networks, config, reals, fakes, cameras, state.step, task.autocast)

    def updates() -> None:
        for parameter in (*networks.generator.parameters(), *networks.discriminators.parameters()):
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        update(state.g_opt, networks.generator.children(), optim.clip_norm)
        update(state.d_opt, networks.discriminators.values(), optim.clip_norm)
        for average in state.ema:
            average.update(networks.generator, 1)

    parts = {
        "generator": timed(generator, device, args.steps),
        "discriminators": timed(discriminators, device, args.steps),
        "updates": timed(updates, device, args.steps),
        "data": timed(lambda: real_pictures(task, state, next(state.reader)), device, args.steps),
    }
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident()
    for label, seconds in {**parts, "step": step}.items():
        print(f"{label:16s} {seconds:8.3f} s")
    print(f"step / sum of parts  {step / sum(parts.values()):.2f}")
    if returning is not None:
        print(f"where freed memory goes back to the system {returning:.3f} s: {returning / step:.2f} x as long")
    print(f"{optim.batch_size / step:.2f} images/s, peak {peak / 2**30:.2f} GiB")
    if args.record:
        figures = {f"{label}, s": seconds for label, seconds in {**parts, "step": step}.items()}
        record("bm_training", {**figures, "images/s": optim.batch_size / step, "peak, GiB": peak / 2**30}, device)
    if args.profile:
        with torch.profiler.profile() as profile:
            train_step(task, state)
        sort = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
        sys.stdout.write(profile.key_averages().table(sort_by=sort, row_limit=20, max_name_column_width=50))
    state.reader.close()


def _resident() -> int:
    """Peak bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    run_cli(main)
