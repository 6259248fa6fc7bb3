"""Batches for training: shuffled, mirrored, shared out among ranks, resumable to the image."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from torch_utils.misc import UserError
from training.data.checks import require_sound
from training.data.layout import DEPTH, FACE_DEPTH, FACE_NORMALS, FACES, IMAGES, MAPS, MASKS, NORMALS
from training.data.maps import decode_depth, decode_normals, mirror_normals
from training.data.mirror import LabelMirror
from training.data.png import decode_png
from training.data.storage import Dataset, Pictures

SECONDS_AFTER_SIGTERM = 120  # that a worker lives on for; closing the reader ends it at once


class Batch(NamedTuple):
    """Pictures with their labels; of flipped pictures the mirrored labels, and maps with the sign of the normals' x."""

    image: Tensor  # [B, 3, H, W] uint8
    face: Tensor  # [B, 3, h, w] uint8
    labels: dict[str, Tensor]  # float32 [B, ...], shapes: layout.LABEL_SHAPES
    index: Tensor  # type: ignore[assignment]  # [B] int64, rows of the data set; hides tuple.index
    flipped: Tensor  # [B] bool
    # By folder if asked for: masks [B, H, W] uint8;
    # of layout.MAPS: depth [B, H, W] in canonical units, unit normals [B, 3, H, W]; 0 where nobody is.
    maps: dict[str, Tensor]


class PortraitReader(Iterator[Batch]):
    """An endless iterator over batches of a data set.

    Epochs follow each other without a gap, each a permutation of all images that (seed, epoch) decides, with a coin
    for every flip. The images of all ranks make one sequence: its k-th stretch of world_size * batch_size images is
    batch k, of which rank r gets the r-th part. ``state_dict`` is the position in that sequence, so training resumes
    with the next image, whatever the number of workers, ranks or the size of batches.

    Decoding happens in worker processes. They are given the files' names, open files on every read, and send
    uint8; labels stay in this process.

    Args:
        dataset: must be sound.
        batch_size: images per batch of this rank.
        seed: of shuffling and flips.
        mirror: of the models that the labels belong to (:func:`training.data.mirror.label_mirror`); None: no flips.
        rank, world_size: of this process.
        workers: processes that decode; 0: this one does, when it is asked for a batch.
        pin_memory: put batches into page-locked memory, for a GPU.
        maps: read depth and normals, too.
        masks: read masks, too.

    Raises:
        UserError: the data set is not sound, or has no maps or masks and they are asked for; in iteration, a picture is
            damaged.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        mirror: LabelMirror | None,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 2,
        pin_memory: bool = False,
        maps: bool = False,
        masks: bool = False,
    ) -> None:
        if batch_size < 1 or workers < 0 or not 0 <= rank < world_size:
            raise ValueError("expected batch_size >= 1, workers >= 0 and 0 <= rank < world_size")
        require_sound(dataset)
        if maps and not dataset.has_maps:
            raise UserError(f"{dataset.path}: expected depth and normals, found none (synthesize --maps makes them)")
        if masks and not dataset.has_masks:
            raise UserError(f"{dataset.path}: expected masks, found none")
        self._dataset, self._mirror, self._seed = dataset, mirror, seed
        self._maps = (MAPS if maps else ()) + ((MASKS,) if masks else ())
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._workers, self._pin_memory = workers, pin_memory
        self._labels = {name: torch.from_numpy(array) for name, array in dataset.labels.items()}
        self._position = 0  # images delivered to all ranks
        self._decoded: Iterator[_Decoded | UserError] | None = None

    def __next__(self) -> Batch:
        if self._decoded is None:
            self._decoded = self._start_workers()
        decoded = next(self._decoded)
        if isinstance(decoded, UserError):
            raise decoded
        self._position += self._batch_size * self._world_size
        labels = {name: array[decoded.index] for name, array in self._labels.items()}
        if self._mirror is not None:
            mirrored = self._mirror(labels, self._dataset.image_size)
            for name, array in labels.items():
                flipped = decoded.flipped.view(-1, *[1] * (array.ndim - 1))
                labels[name] = torch.where(flipped, mirrored[name], array)
        return Batch(decoded.image, decoded.face, labels, decoded.index, decoded.flipped, decoded.maps)

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch begins: plain data, the same on every rank."""
        return {"position": self._position, "seed": self._seed, "dataset": self._dataset.checksum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken. Raises UserError where it belongs to another data set."""
        if state["dataset"] != self._dataset.checksum:
            raise UserError(f"{self._dataset.path}: not the data set that this run was begun with (checksums differ)")
        self.close()
        self._position, self._seed = int(state["position"]), int(state["seed"])

    def close(self) -> None:
        """Ends the workers; the next batch starts them again."""
        self._decoded = None

    def _start_workers(self) -> Iterator[_Decoded | UserError]:
        task = _DecodeTask(self._dataset.pictures, self._dataset.image_size, self._dataset.face_size, self._maps)
        count, flips = len(self._dataset), self._mirror is not None
        loader: DataLoader[_Decoded | UserError] = DataLoader(
            task,
            batch_sampler=_batches(
                partial(_epoch_codes, self._seed, count=count, flips=flips),
                self._position + self._rank * self._batch_size,
                self._batch_size,
                self._batch_size * self._world_size,
            ),
            num_workers=self._workers,
            collate_fn=_unchanged,
            worker_init_fn=_start_worker,
            pin_memory=self._pin_memory,
        )
        return iter(loader)


def _batches(codes_of: Callable[[int], np.ndarray], first: int, batch_size: int, stride: int) -> Iterator[list[int]]:
    """Endless batches of codes: the images first, first + 1 ... of the sequence, the next batch ``stride`` later.

    A function apart: if it held on to the reader, dropping the reader would not end its workers.
    """
    epoch, codes = 0, codes_of(0)
    while True:
        batch = []
        for position in range(first, first + batch_size):
            if position // len(codes) != epoch:
                epoch = position // len(codes)
                codes = codes_of(epoch)
            batch.append(int(codes[position % len(codes)]))
        yield batch
        first += stride


def _epoch_codes(seed: int, epoch: int, *, count: int, flips: bool) -> np.ndarray:
    """[count] int64: 2 * row + flipped, every row once."""
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(count)
    return 2 * rows + (rng.random(count) < 0.5) * flips


class _Decoded(NamedTuple):
    image: Tensor
    face: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    flipped: Tensor
    maps: dict[str, Tensor]


class _DecodeTask(TorchDataset):
    """What worker processes run; a map-style data set for DataLoader that fetches whole batches."""

    def __init__(self, pictures: Pictures, image_size: int, face_size: int, maps: tuple[str, ...]) -> None:
        self._pictures, self._maps = pictures, maps
        self._sizes = dict.fromkeys((IMAGES, MASKS, DEPTH, NORMALS), image_size)
        self._sizes |= dict.fromkeys((FACES, FACE_DEPTH, FACE_NORMALS), face_size)

    def __getitems__(self, codes: list[int]) -> _Decoded | UserError:
        """Errors are returned: what a worker raises would reach the user as a page of traceback."""
        index, flipped = torch.tensor(codes) // 2, torch.tensor(codes) % 2 == 1
        try:
            image, face = (self._stack(folder, index.tolist(), flipped) for folder in (IMAGES, FACES))
            maps = {folder: self._stack(folder, index.tolist(), flipped) for folder in self._maps}
        except UserError as error:
            return error
        return _Decoded(image, face, index, flipped, maps)

    def _stack(self, folder: str, index: list[int], flipped: Tensor) -> Tensor:
        """Files of one folder as [B, H, W] or [B, 3, H, W]."""
        size, decode, stack = self._sizes[folder], _DECODERS.get(folder, decode_png), []
        for row, flip in zip(index, flipped.tolist(), strict=True):
            where = f"{self._pictures.tree.root}: {folder}/{self._pictures.names[row]}"
            pixels = decode(self._pictures.read(folder, row), size, where)
            if flip:
                pixels = mirror_normals(pixels) if folder in (NORMALS, FACE_NORMALS) else pixels[:, ::-1]
            stack.append(np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))
        return torch.from_numpy(np.stack(stack))


_DECODERS: dict[str, Callable[[bytes, int, str], np.ndarray]] = {
    DEPTH: decode_depth,
    FACE_DEPTH: decode_depth,
    NORMALS: decode_normals,
    FACE_NORMALS: decode_normals,
    MASKS: partial(decode_png, mode="L"),
}


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    """Ctrl-C, and the SIGTERM of a scheduler, reach the whole process group, but only the parent shall answer them: it
    needs its workers to finish the step. And garbage collection must not walk over, and so copy, the memory that is
    shared with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":  # which has no alarm, and its schedulers send nothing to groups
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SECONDS_AFTER_SIGTERM))
    gc.freeze()
