"""What is rehearsed. Each scene is a process of its own on the fake GPU and prints its counts as a line of JSON.

Sizes are the paper's: nothing is computed, so they cost little.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import torch

from inference.pipeline import Person, PortraitPipeline
from tests.benchmarks.bm_render import random_pipeline
from tests.fake_cuda.watch import Counts, count, watching
from tests.training.tiny_run import make_dataset
from torch_utils import custom_ops
from torch_utils.distributed import World
from training import rendering, training_loop
from training.config import TrainConfig, load_train_config
from training.data.reader import Batch
from training.models import load_face
from training.run.snapshot import save_snapshot, snapshot_inputs
from training.run.state import RunState
from training.training_loop import Task

ROOT = Path(__file__).resolve().parents[2]
CUDA = torch.device("cuda", 0)
VALID = 0.7  # share of crossings that are valid: the fake GPU finds none
Found = dict[str, dict[str, float]]


def numbers(counts: Counts) -> dict[str, float]:
    return {name: getattr(counts, name) for name in ("launches", "products", "waits")}


@contextmanager
def counting() -> Iterator[Counts]:
    """:func:`watching`, of work that nothing may be refused to; with ``--lines`` it also says where things happen."""
    lines = "--lines" in sys.argv
    with watching(launches=lines) as counts:
        yield counts
    assert not counts.of("REFUSED"), counts.of("REFUSED")
    for event in ("WAIT", "LAUNCH") if lines else ():
        for place, times in list(counts.of(event).items())[:40]:
            print(f"{times:7d} {event} {place}", file=sys.stderr)


@contextmanager
def no_waits() -> Iterator[None]:
    """Where torch itself raises if the host is to wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def without_compiled_ops() -> None:
    """As where NVRTC is missing."""
    load = custom_ops._load
    custom_ops._load = lambda key: load(key) if str(key) in ("cpu", "None") else "CUDA ops: left out"
    warnings.filterwarnings("ignore", message="CUDA ops: left out")


def no_tf32_for_positions(counts: Counts) -> None:
    """Gradients and what is no position may round."""
    may = (
        "gradients",
        "networks/manifold/radiance",
        "networks/manifold/superresolution",
        "networks/layers.py",
        "networks/discriminators",
    )
    wrong = [place for place in counts.of("TF32") if not place.startswith(may)]
    assert not wrong, f"TF32 products in {wrong}"


# ---- frames ----------------------------------------------------------------------------------------------------------


def draw(person: Person, quality: str, yaw: float = 1.5) -> None:
    person.render([0.1] * 64, [[0.1] * 3] * 6, (1.6, yaw), quality=quality)


def frames(kind: str = "") -> Found:
    """A person, exact and fast frames, on two devices, by two threads; no position is rounded."""
    torch.set_float32_matmul_precision("high")
    pipe = random_pipeline(CUDA)
    pipe.person(seed=0)  # loads what it needs
    with counting() as persons, no_waits():
        person = pipe.person(seed=1)
    draw(person, "exact")
    with counting() as exact, no_waits():
        draw(person, "exact")
    no_tf32_for_positions(exact)
    with counting() as renderer:
        pipe.fast_renderer  # noqa: B018
    with counting() as first:
        draw(person, "fast")
    no_tf32_for_positions(first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with counting() as recorded:
            draw(person, "fast")
        assert count("recordings") == 1
        with counting() as replayed, no_waits():
            draw(person, "fast", 1.4)
        assert count("replays") == 1
        two_threads(pipe)
        second_device(pipe)
    return {
        f"{kind}person": numbers(persons),
        f"{kind}exact frame": numbers(exact),
        f"{kind}fast renderer, once a model": numbers(renderer),
        f"{kind}first fast frame, with what is shaped once a person": numbers(first),
        f"{kind}fast frame": {"launches": recorded.recorded, "waits": 0},
        f"{kind}replayed fast frame": numbers(replayed),
    }


def two_threads(pipe: PortraitPipeline) -> None:
    """As in the viewer: one makes people while another draws."""
    with ThreadPoolExecutor(2) as threads:
        people = [threads.submit(pipe.person, seed) for seed in (2, 3)]
        drawn = [threads.submit(draw, people[0].result(), "fast") for _ in range(4)]
        drawn += [threads.submit(draw, people[1].result(), "fast") for _ in range(4)]
        for one in drawn:
            one.result()
    assert all(person.result()._fast.recording._graph is not None for person in people)


def second_device(pipe: PortraitPipeline) -> None:
    """Frames are recorded on another device of the same process, too."""
    there = torch.device("cuda", 1)
    person = PortraitPipeline(SimpleNamespace(generator=pipe.generator, priors=None, metadata={}), there).person(seed=0)
    for _ in range(3):
        draw(person, "fast")
    assert person._fast.recording._graph is not None
    assert person._fast.recording._outputs.image.device == there


def plain_frames() -> Found:
    """The same without compiled ops."""
    without_compiled_ops()
    return frames("plain torch: ")


# ---- training --------------------------------------------------------------------------------------------------------


def start(config: TrainConfig) -> tuple[Task, RunState]:
    """A run on the device; every step gets the same pictures, and no process reads them."""
    dataset = make_dataset(Path(tempfile.mkdtemp()) / "data", 8, size=512)
    training_loop.PortraitReader = lambda *_, **__: None
    task, state = training_loop.begin(config, dataset, World(0, 1, CUDA), resuming=True)
    labels = {name: torch.from_numpy(values).pin_memory() for name, values in dataset.labels.items()}
    pictures = torch.zeros(8, 3, 512, 512, dtype=torch.uint8).pin_memory()
    state.reader = itertools.repeat(Batch(pictures, pictures, labels, torch.arange(8), torch.zeros(8)))
    return task, state


def stage(number: Literal[1, 2], *options: str) -> TrainConfig:
    return load_train_config(ROOT / f"configs/synth_stage{number}.yaml", None, ["--batch_size=8", *options])


def steps(number: Literal[1, 2]) -> Found:
    """A step of 8 pictures in bfloat16, with R1, recomputing a part of it; a snapshot."""
    task, state = start(stage(number))
    assert task.bf16
    training_loop.train_step(task, state)
    with counting() as counts:
        losses = training_loop.train_step(task, state)
    no_tf32_for_positions(counts)
    assert any(name.endswith("r1") for name in losses)
    found = {f"step of stage {number}": numbers(counts)}
    with counting() as counts:
        snapshot = snapshot_inputs(task.sampler, 1, 0, load_face(task.config))
        save_snapshot(Path(tempfile.mkdtemp()) / "a.png", state.g_ema, task.config, snapshot)
    found[f"snapshot of stage {number}"] = numbers(counts)
    return found


def stage1() -> Found:
    return steps(1)


def stage2() -> Found:
    return steps(2)


SCENES: dict[str, Callable[[], Found]] = {
    "frames": frames,
    "plain_frames": plain_frames,
    "stage1": stage1,
    "stage2": stage2,
}


def main(name: str) -> None:
    rendering.most_valid = lambda valid, real=rendering.most_valid: (real(valid), int(VALID * valid.shape[1]))[1]
    if hasattr(custom_ops, "_CUDA_FLAGS"):
        custom_ops._CUDA_FLAGS += " --cudart none"
    found = SCENES[name]()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
