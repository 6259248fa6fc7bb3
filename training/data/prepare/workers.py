"""The photos of a set spread over processes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from networks.person.tracking_files import SmplFits
from torch_utils.worker_pool import worker_pool
from training.data.prepare.models import Models
from training.data.prepare.photo import Item, PrepareConfig, Skipped, Sources, prepare_photo
from training.data.prepare.report import Outcome
from training.data.prepare.super_resolution import Upscaler, make_upscaler


class Job(NamedTuple):
    """What every process needs to know."""

    photos: Sequence[Sources]
    fits: SmplFits
    models: Models
    config: PrepareConfig
    super_resolution: str | None  # see make_upscaler
    device: str


class _Preparation:
    """Index of a photo -> (index, item or why there is none)."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._upscale: Upscaler | None = None

    def __call__(self, index: int) -> tuple[int, Item | Outcome]:
        job = self.job
        if job.super_resolution and self._upscale is None:  # nets and commands do not travel between processes
            self._upscale = make_upscaler(job.super_resolution, job.device)
        try:
            return index, prepare_photo(job.photos[index], job.fits, job.models, job.config, self._upscale)
        except Skipped as skipped:
            return index, Outcome(job.photos[index].photo.name, skipped.kind, str(skipped))


def prepare_all(job: Job, indices: Sequence[int], workers: int) -> Generator[tuple[int, Item | Outcome]]:
    """(index, item or why there is none) for the photos at ``indices``, in that order.

    Args:
        workers: processes; 0 and 1 work in this one.

    Raises:
        UserError: super-resolution fails, or a process was killed.
    """
    if job.super_resolution:
        make_upscaler(job.super_resolution, job.device)  # complain once and before starting processes
    with worker_pool(_Preparation(job), workers if workers > 1 else 0) as prepare:
        yield from prepare(indices)
