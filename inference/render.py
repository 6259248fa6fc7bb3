"""From people and a motion to video files; what `gen_video.py` does once its arguments are understood."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from inference.keyframes import Kind, Motion
from inference.video import depth_to_uint8, open_writer, tile
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8

if TYPE_CHECKING:
    from inference.arguments import Quality
    from inference.person import Person
    from inference.pipeline import PortraitPipeline
    from networks.compositing import Frame
    from networks.person.priors import Latents

T = TypeVar("T")
# A terminal shows one moving line; a log file should not get a new line ten times a second.
LOG_INTERVAL = 10.0  # seconds
RAND_KEYFRAMES = 8  # drawn for `rand` when nothing else says how many
FRAMES_AHEAD = 2  # drawn before the first of them has to be written


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One call of the program: who, what they do, and where it goes."""

    seeds: tuple[int, ...]
    psi: float
    motion: Motion
    output_dir: Path
    ext: str = "mp4"  # mp4, gif or png
    fps: float = 20.0
    grid: tuple[int, int] | None = None  # rows, columns: everybody in one video
    seeds_interval: int = 0  # frames from one seed to the next in one blended video; 0 is off
    depth: bool = False  # also write depth
    lr: bool = False  # also write the image before super-resolution
    quality: Quality = "fast"  # of Person.render


def render_videos(pipe: PortraitPipeline, job: Job) -> list[Path]:
    """Renders and writes the job's videos, one person after the other (or all at once for a grid).

    Returns:
        The written files, in order. Those of people finished before an exception or Ctrl-C stay; of the others nothing
        is left.
    """
    label = seeds_label(job.seeds)
    if job.grid:
        everybody = [pipe.person(seed=seed, psi=job.psi) for seed in _progress(job.seeds, "people", "person")]
        return _write_video(f"video_grid_{label}", itertools.repeat(everybody), job)
    if job.seeds_interval:
        blend = ([pipe.person(**latents._asdict(), psi=job.psi)] for latents in blended_latents(pipe, job))
        return _write_video(f"video_loop_{label}", blend, job)
    paths = []
    for seed in _progress(job.seeds, "people", "person"):
        person = pipe.person(seed=seed, psi=job.psi)
        paths += _write_video(f"video_{seed}", itertools.repeat([person]), job)
    return paths


def _write_video(name: str, people: Iterable[list[Person]], job: Job) -> list[Path]:
    """Writes the motion of `people` (those in each frame) as `{name}_rgb` and what else the job asks for."""
    rows, columns = job.grid or (1, 1)
    outputs: dict[str, tuple[Callable[[Frame], np.ndarray], int]] = {"rgb": (lambda f: image_to_uint8(f.image), 255)}
    if job.depth:
        outputs["depth"] = (lambda f: depth_to_uint8(f.depth, f.alpha), 0)
    if job.lr:
        outputs["rgb_lr"] = (lambda f: image_to_uint8(f.image_lr), 255)
    with ExitStack() as stack:
        writers = {
            kind: stack.enter_context(open_writer(job.output_dir / f"{name}_{kind}", job.ext, job.fps))
            for kind in outputs
        }

        def write(rendered: list[Frame]) -> None:
            for kind, (convert, background) in outputs.items():
                writers[kind].add(tile([convert(frame) for frame in rendered], rows, columns, background))

        # One thread writes, in order, while the next frame is drawn. It is done before the writers close.
        thread = stack.enter_context(ThreadPoolExecutor(1))
        waiting: deque[Future[None]] = deque()
        frames = _progress(range(job.motion.n_frames), name, "frame", leave=False)
        for i, shown in zip(frames, people, strict=False):  # `people` may be endless
            rendered = [_render(person, job, i) for person in shown]
            waiting.append(thread.submit(write, rendered))
            if len(waiting) > FRAMES_AHEAD:
                waiting.popleft().result()
        for written in waiting:
            written.result()
    return [path for writer in writers.values() for path in writer.paths]


def _progress(items: Sequence[T], what: str, unit: str, leave: bool = True) -> Iterable[T]:
    interval = 0.1 if sys.stderr.isatty() else LOG_INTERVAL
    return tqdm(items, desc=what, unit=unit, leave=leave, mininterval=interval)


def _render(person: Person, job: Job, i: int) -> Frame:
    pitch, yaw = job.motion.camera[i].tolist()
    return person.render(
        expression=torch.from_numpy(job.motion.expression[i]).float(),
        joint_eulers=torch.from_numpy(job.motion.joint_eulers[i]).float(),
        camera=(pitch, yaw),
        quality=job.quality,
    )


def blended_latents(pipe: PortraitPipeline, job: Job) -> Iterator[Latents]:
    """The latents of each frame of a closed walk through the seeds, `seeds_interval` frames from each to the next.

    See :meth:`inference.pipeline.PortraitPipeline.blend`.
    """
    stations = [pipe.sample_latents(seed) for seed in job.seeds]
    for i in range(job.motion.n_frames):
        leg, step = divmod(i, job.seeds_interval)
        a, b = stations[leg % len(stations)], stations[(leg + 1) % len(stations)]
        yield pipe.blend(a, b, step / job.seeds_interval)


def draw_keyframes(pipe: PortraitPipeline, kinds: set[Kind], n: int, seed: int) -> dict[Kind, np.ndarray]:
    """`n` keyframes of each of `kinds` from the checkpoint's priors (`rand`); the same for the same seed.

    Pose and camera come from the same rows of the priors, as they do in the data.

    Raises:
        UserError: the checkpoint has no priors.
    """
    if not kinds:
        return {}
    if pipe.priors is None:
        raise UserError("`rand` keyframes are drawn from the checkpoint's priors, and this checkpoint has none")

    def generator(stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed + (stream << 32))  # apart from the draws of the people themselves

    joint_eulers, camera = pipe.priors.sample_pose_camera(n, generator(1))
    expression = pipe.priors.sample_expressions(n, generator(2))
    drawn: dict[Kind, torch.Tensor] = {"expression": expression, "pose": joint_eulers, "camera": camera}
    return {kind: drawn[kind].double().cpu().numpy() for kind in drawn if kind in kinds}


def seeds_label(seeds: tuple[int, ...]) -> str:
    """Seeds for a file name: runs as `first-last`, joined by underscores, e.g. (0, 1, 2, 7) -> `0-2_7`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    text = "_".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return text if len(text) <= 100 else f"{seeds[0]}_and_{len(seeds) - 1}_more"
