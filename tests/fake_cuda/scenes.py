"""What is rehearsed. Each scene is a process of its own on the fake GPU and prints its counts as a line of JSON.

Sizes are the paper's: nothing is computed, so they cost little.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml
from torch import distributed

import gen_video
import train
from inference import mesh
from inference.fast.recording import Recording
from inference.pipeline import PortraitPipeline
from inference.viewer.messages import Shot
from inference.viewer.studio import Studio
from networks.compositing import Frame
from networks.manifold import shading
from tests.benchmarks.bm_render import random_pipeline
from tests.fake_cuda.counting import Found, counting, no_tf32_for_positions, no_waits, numbers
from tests.fake_cuda.frames import draw, frames, layers, plain_frames
from tests.fake_cuda.watch import count, watching
from tests.training.tiny_run import CONFIG, SIZE, make_dataset
from torch_utils.config import config_from_dict, merge
from torch_utils.device import full_precision
from torch_utils.distributed import World, wait_for_all, world
from torch_utils.misc import UserError
from training import evaluation, manifold_recipe, training_loop
from training.config import TrainConfig, load_train_config
from training.data.reader import Batch
from training.data.storage import Dataset
from training.manifold_recipe import ManifoldTask
from training.metrics import __main__ as metrics
from training.models import load_face
from training.run.memory import estimate
from training.run.snapshot import save_snapshot, snapshot_inputs
from training.run.state import RunState

ROOT = Path(__file__).resolve().parents[2]
CUDA = torch.device("cuda", 0)
VALID = 0.7  # share of crossings that are valid: the fake GPU finds none


# ---- training --------------------------------------------------------------------------------------------------------


def start(config: TrainConfig) -> tuple[ManifoldTask, RunState]:
    """A run on the device; :func:`one_step` says what it reads."""
    dataset = make_dataset(Path(tempfile.mkdtemp()) / "data", 8, size=512)
    manifold_recipe.read_portraits = lambda *_, **__: dataset
    return manifold_recipe.begin(config, dataset, World(0, 1, CUDA), resuming=True)


def one_step(task: ManifoldTask, state: RunState, dataset: Dataset) -> dict[str, float]:
    """A step of a process that is handed black pictures: nobody reads any."""
    share = task.config.optim.batch_size // task.world.size
    labels = {
        name: torch.from_numpy(values[np.arange(share) % len(values)]).pin_memory()
        for name, values in dataset.labels.items()
    }
    pictures = torch.zeros(share, 3, 512, 512, dtype=torch.uint8).pin_memory()
    state.reader = iter([Batch(pictures, pictures, labels, torch.arange(share), torch.zeros(share), {})])
    return manifold_recipe.train_step(task, state)


def stage(number: Literal[1, 2], *options: str, preset: Path | None = None) -> TrainConfig:
    return load_train_config(ROOT / f"configs/synth_stage{number}.yaml", preset, ["--batch_size=8", *options])


def steps(number: Literal[1, 2], presets_of: str) -> Found:
    """A step of 8 pictures in bfloat16, with R1, recomputing a part of it; a snapshot; the presets' memory."""
    task, state = start(stage(number, "--batch_size=32"))
    assert task.bf16
    few, dataset = replace(task, config=stage(number)), state.reader
    one_step(few, state, dataset)
    with counting() as step:
        losses = one_step(few, state, dataset)
    no_tf32_for_positions(step)
    assert any(name.endswith("r1") for name in losses)
    with counting() as snapshot:
        shown = snapshot_inputs(task.sampler, 1, 0, load_face(task.config))
        save_snapshot(Path(tempfile.mkdtemp()) / "a.png", state.g_ema, task.config, shown)
    presets(task, state, dataset, presets_of)
    return {f"step of stage {number}": numbers(step), f"snapshot of stage {number}": numbers(snapshot)}


def presets(task: ManifoldTask, state: RunState, dataset: Dataset, pattern: str) -> None:
    """A step by each preset takes less memory than it says."""
    parts = (state.networks.generator, state.networks.discriminators)
    parameters = tuple(sum(p.numel() for p in part.parameters()) for part in parts)
    for preset in sorted((ROOT / "configs/presets").glob(pattern)):
        gpus = int(preset.stem.partition("x")[0])
        config = replace(task.config, run=stage(task.config.stage, preset=preset).run)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        one_step(replace(task, config=config, world=World(0, gpus, CUDA)), state, dataset)
        within_estimate(preset.stem, estimate(config, 32 // gpus, bf16=True, parameters=parameters).total)


def within_estimate(title: str, estimated: float) -> None:
    peak = torch.cuda.max_memory_allocated()
    line = f"{title}: {peak / 2**30:.1f} GiB of {estimated / 2**30:.1f} GiB estimated"
    print(line, file=sys.stderr)
    assert peak < estimated, line


def stage1() -> Found:
    return steps(1, "8x*.yaml")


def stage2() -> Found:
    return steps(2, "8x*.yaml")


def all_presets() -> Found:
    """Those for other numbers of GPUs, too."""
    steps(1, "*.yaml")
    steps(2, "*.yaml")
    return {}


# ---- programs -----------------------------------------------------------------------------------------------------


def programs() -> Found:
    """Command lines from end to end; what they draw is nothing."""
    folder = Path(tempfile.mkdtemp())
    gen_video.main(["--seeds", "0-1", "--video_length", "3", "--ext", "png", "--output_dir", str(folder / "video")])
    assert len(list((folder / "video").glob("*.png"))) == 6
    with must_fail(UserError, "no pixel is opaque"):  # as far as nothing can be meshed
        mesh.main(["--out", str(folder / "a.ply"), "--resolution", "16"])
    dataset = make_dataset(folder / "data", 4, size=384)
    options = ["--ckpt", str(ROOT / "ckpts/demo.safetensors"), "--data", str(dataset.path), "--cache", str(folder)]
    metrics.main([*options, "--metrics", "fid,kid,control", "--detector", "random", "--num", "4", "--kid_subset", "2"])
    asyncio.run(studio())
    return {}


async def studio() -> None:
    """The viewer's two threads."""
    rooms = Studio(PortraitPipeline.from_checkpoint(ROOT / "ckpts/demo.safetensors", device="cuda"))
    await rooms.warm_up()
    shot = Shot(0, 0.7, np.zeros(64), np.zeros((6, 3)), np.full(2, 1.5))
    people = [rooms.person((seed, 0.7)) for seed in range(3)]
    person = await rooms.person((0, 0.7))
    files = [rooms.draw(person, shot, "jpeg") for _ in range(3)]
    await asyncio.gather(*people, *files)
    rooms.close()


def runs() -> Found:
    """train.py of both stages: the reader's processes, bfloat16, a snapshot, its distances, going on."""
    folder = Path(tempfile.mkdtemp())
    make_dataset(folder / "data", 8, size=64)
    # Nobody computed what these look at.
    training_loop.check_finite, evaluation.frechet_distance = lambda *_: None, lambda *_: 1.0
    # It compares numbers of all processes on the device, where they are 0.
    training_loop.resume = lambda state, outdir, world, change: state.load(outdir, allow_change=change)
    for number in (1, 2):
        tiny = merge(CONFIG, {"stage": number, "generator": {"superresolution": number == 2}})
        tiny = merge(tiny, {"run": {"precision": "auto", "metric_images": 4, "rays_per_chunk": 64}})
        if number == 2:
            tiny = merge(tiny, {"losses": {"imitation": 0.0}, "init_from": str(folder / "run1/latest")})
        (folder / "config.yaml").write_text(yaml.safe_dump(tiny))
        out = folder / f"run{number}"
        for kimg in (0.008, 0.016):
            options = ["--config", str(folder / "config.yaml"), "--data", str(folder / "data"), "--outdir", str(out)]
            train.main([*options, "--total_kimg", str(kimg)])
        assert (out / "latest").exists() and len(list(out.glob("fakes*.png"))) == 3
    return {}


# ---- several processes ----------------------------------------------------------------------------------------------


def processes() -> Found:
    """As one of several that torchrun started: NCCL is given what it takes, on the device of its rank."""
    told: Counter[tuple[str, int]] = Counter()

    def told_of(name: str) -> Callable:
        real = getattr(distributed, name)

        def tell(tensor: torch.Tensor, *rest, **options):
            told[name, tensor.device.index] += 1
            return real(tensor, *rest, **options)

        return tell

    for name in ("all_reduce", "broadcast"):
        setattr(distributed, name, told_of(name))
    tiny = merge(CONFIG, {"run": {"precision": "auto"}})
    with world("cuda") as us:
        assert us.size == 2 and us.device.index == us.rank
        folder = Path(tempfile.mkdtemp())
        assert not training_loop.is_begun(folder / "run", us)
        dataset = make_dataset(folder / "data", 8, size=SIZE)
        task, state = manifold_recipe.begin(config_from_dict(TrainConfig, tiny, "tiny"), dataset, us)
        manifold_recipe.train_step(task, state)
        state.reader.close()
        wait_for_all()
    assert set(told) == {("all_reduce", us.rank), ("broadcast", us.rank)}
    return {}


# ---- faults ---------------------------------------------------------------------------------------------------------


def faults() -> Found:
    """Each check, seen to fail: what is planted here has to be found."""
    torch.set_float32_matmul_precision("high")
    a = torch.ones(64, 64, device=CUDA)
    with counting() as counts:
        a.sum().item()
        constant = torch.tensor([1.0, 2.0], device=CUDA)
        (a @ a) + constant[0]
        a.nonzero()
    assert counts.waits == 3, counts
    assert counts.launches and counts.products == 1 and sum(counts.of("TF32").values()) == 1, counts
    with must_fail(AssertionError, "TF32 products in"):
        no_tf32_for_positions(counts)
    with counting() as counts, full_precision():
        a @ a
    no_tf32_for_positions(counts)
    with no_waits(), must_fail(RuntimeError, "synchronizing CUDA operation"):
        a.sum().item()

    def drawn(numbers: torch.Tensor) -> Frame:
        return Frame(numbers.sum(), numbers.new_tensor([1.0]), numbers, numbers)  # of a list: has to wait

    with warnings.catch_warnings(record=True) as caught, watching() as counts:
        warnings.simplefilter("always")
        recording = Recording(drawn, torch.ones(3), CUDA)
    assert recording._graph is None and counts.of("REFUSED")
    (message,) = [str(warning.message) for warning in caught if "cannot be recorded" in str(warning.message)]
    assert "tests/fake_cuda/scenes.py" in message, message  # the cause, not the recording's end
    with must_fail(AssertionError, "scenes.py"), counting():
        Recording(drawn, torch.ones(3), CUDA)
    torch.cuda.reset_peak_memory_stats()
    with must_fail(AssertionError, "GiB estimated"):
        within_estimate("a preset", torch.cuda.max_memory_allocated() - 1)
    return {}


@contextmanager
def must_fail(kind: type[Exception], words: str) -> Iterator[None]:
    try:
        yield
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"nothing was found where '{words}' was planted")


def pinned_copies_last() -> Found:
    """While the GPU has not got to it (FAKE_CUDA_PENDING=1), the pinned numbers of a frame are given to nobody else."""
    person = random_pipeline(CUDA).person(seed=0)
    draw(person, "fast")
    draw(person, "fast")
    with counting():
        for _ in range(20):
            draw(person, "fast")
        used = count("pinned sources")
    assert used == 20, f"{used} of 20 frames have pinned numbers of their own"
    return {}


SCENES: dict[str, Callable[[], Found]] = {
    "frames": frames,
    "plain_frames": plain_frames,
    "layers": layers,
    "stage1": stage1,
    "stage2": stage2,
    "all_presets": all_presets,
    "programs": programs,
    "runs": runs,
    "processes": processes,
    "faults": faults,
    "pinned_copies_last": pinned_copies_last,
}


def find_some() -> None:
    """Where there is nothing, VALID of it is found: numbers that the GPU would have counted."""
    nonzero, most_valid = torch.Tensor.nonzero, shading.most_valid

    def found(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_cuda or tensor.dim() != 1:
            return nonzero(tensor)
        nonzero(tensor)
        return torch.arange(int(VALID * len(tensor)), device=tensor.device)[:, None]

    def most(valid: torch.Tensor) -> int:
        most_valid(valid)
        return int(VALID * valid.shape[1])

    torch.Tensor.nonzero, shading.most_valid = found, most


def main(name: str) -> None:
    find_some()
    found = SCENES[name]()
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
