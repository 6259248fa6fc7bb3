"""Drawn frames beside true ones: folders, in time, or a data set, whose labels they were drawn by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from torch_utils.files import list_files, natural_key
from torch_utils.misc import UserError
from torch_utils.pictures import PICTURE_SUFFIXES, read_picture
from training.data.png import decode_png
from training.data.prepare.masks import read_mask
from training.data.storage import Dataset
from training.metrics.pictures import resampled
from training.metrics.recon import LEAST_FOREGROUND, Pair


def frames_of(folder: str | Path, num: int | None = None) -> list[Path]:
    """Pictures of a folder in time, by the numbers in their names. Raises UserError: no such folder, none in it."""
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder of frames")
    files = sorted(list_files(folder, PICTURE_SUFFIXES), key=lambda file: natural_key(file.name))
    if not files:
        raise UserError(f"{folder}: expected frames ({', '.join(PICTURE_SUFFIXES)}), found none")
    return files[:num]


def _check_count(found: int, folder: str | Path, expected: int, what: str) -> None:
    if found != expected:
        raise UserError(f"{folder}: expected {expected} frames, as {what} has, found {found}")


class FolderFrames:
    """Two folders, the same moments in the same order, and one of masks, white the person: what is not the person in
    true frames becomes white.

    Raises:
        UserError: folders of different numbers of pictures; in iteration, one cannot be read, or sizes differ.
    """

    def __init__(self, ours: str | Path, truth: str | Path, masks: str | Path | None = None, num: int | None = None):
        self.ours, self.truth = (frames_of(folder, num) for folder in (ours, truth))
        _check_count(len(self.ours), ours, len(self.truth), str(truth))
        self.masks = None if masks is None else frames_of(masks, num)
        if self.masks is not None:
            _check_count(len(self.masks), str(masks), len(self.truth), str(truth))
        self.name = str(ours)

    def __len__(self) -> int:
        return len(self.ours)

    def __iter__(self) -> Iterator[Pair]:
        for i, (ours, truth) in enumerate(zip(self.ours, self.truth, strict=True)):
            pictures = [read_picture(file) for file in (ours, truth)]
            if pictures[0].size != pictures[1].size:
                expected, found = ("{} x {}".format(*picture.size) for picture in reversed(pictures))
                raise UserError(f"{ours}: expected {expected} pixels, as {truth} has, found {found}")
            mask = None
            if self.masks is not None:
                mask = torch.from_numpy(np.array(read_mask(self.masks[i], pictures[1].size)) > LEAST_FOREGROUND)
            drawn, true = (torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in pictures)
            yield Pair(drawn, true if mask is None else torch.where(mask, true, 255), mask)


class DatasetFrames:
    """A folder of frames drawn by the labels of a data set, row by row, beside its portraits, at the frames' size.

    Raises:
        UserError: not as many frames as rows; in iteration, frames are larger than portraits or not square.
    """

    def __init__(self, ours: str | Path, dataset: Dataset, num: int | None = None):
        self.ours, self.dataset = frames_of(ours, num), dataset
        _check_count(len(self.ours), ours, min(len(dataset), num or len(dataset)), str(dataset.path))
        self.name = str(ours)

    def __len__(self) -> int:
        return len(self.ours)

    def __iter__(self) -> Iterator[Pair]:
        size, where = self.dataset.image_size, self.dataset.path
        for i, file in enumerate(self.ours):
            picture = read_picture(file)
            if picture.width != picture.height or picture.width > size:
                found = f"{picture.width} x {picture.height}"
                raise UserError(f"{file}: expected a square of at most {size} pixels, as {where} has, found {found}")
            pixels = decode_png(self.dataset.read_image(i), size, f"{where}: portrait {i}")
            truth = resampled(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], picture.width)[0]
            mask = None
            if self.dataset.has_masks:
                grey = torch.from_numpy(decode_png(self.dataset.read_mask(i), size, f"{where}: mask {i}", "L").copy())
                mask = resampled(grey[None, None], picture.width)[0, 0] > LEAST_FOREGROUND
            yield Pair(torch.from_numpy(np.array(picture)).permute(2, 0, 1), truth, mask)
