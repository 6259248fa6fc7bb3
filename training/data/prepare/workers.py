"""The photos of a set spread over processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import DataLoader, Dataset

from networks.tracking_files import SmplFits
from torch_utils.misc import UserError
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


class _Photos(Dataset):
    """Items of the photos at some indices; made where they are asked for."""

    def __init__(self, job: Job, indices: Sequence[int]) -> None:
        self.job = job
        self.indices = indices
        self._upscale: Upscaler | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> tuple[int, Item | Outcome | UserError]:
        job, index = self.job, self.indices[number]
        try:
            if job.super_resolution and self._upscale is None:  # nets and commands do not travel between processes
                self._upscale = make_upscaler(job.super_resolution, job.device)
            return index, prepare_photo(job.photos[index], job.fits, job.models, job.config, self._upscale)
        except Skipped as skipped:
            return index, Outcome(job.photos[index].photo.name, skipped.kind, str(skipped))
        except UserError as error:
            return index, error


def _as_it_is(item):
    return item


def prepare_all(job: Job, indices: Sequence[int], workers: int) -> Iterator[tuple[int, Item | Outcome]]:
    """(index, item or why there is none) for the photos at ``indices``, in that order.

    Args:
        workers: processes; 1 works in this one.

    Raises:
        UserError: super-resolution fails, or a process was killed.
    """
    if job.super_resolution:
        make_upscaler(job.super_resolution, job.device)  # complain once and before starting processes
    processes = min(workers, len(indices)) if workers > 1 else 0
    loader = DataLoader(
        _Photos(job, indices),
        batch_size=None,
        num_workers=processes,
        collate_fn=_as_it_is,
        multiprocessing_context="spawn" if processes else None,
    )
    items = iter(loader)
    while True:
        try:
            item = next(items, None)
        except RuntimeError as error:
            if "worker" not in str(error):
                raise
            raise UserError("a worker process was killed (out of memory?); run again to go on") from error
        if item is None:
            return
        if isinstance(item[1], UserError):
            raise item[1]
        yield item
