"""Where the pictures that are compared come from. Every source gives 8-bit pictures, as files would hold them."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from torch_utils.files import list_files
from torch_utils.misc import UserError, file_sha256
from torch_utils.pictures import PICTURE_SUFFIXES, read_picture
from torch_utils.pixels import to_bytes
from training.data.png import decode_png
from training.data.storage import Dataset
from training.metrics.renderers import VIEWS, Renderer, check_finite, draw_inputs
from training.phases import resize
from training.sampling import InputSampler


class Pictures(Protocol):
    """Pictures by index; each may be shown in several regions (``full``: the portrait; ``face``: the face camera)."""

    name: str

    @property
    def regions(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def read(self, rows: range) -> dict[str, Tensor]:
        """[B, 3, H, W] uint8 of every region."""
        ...


class CachedPictures(Pictures, Protocol):
    """Pictures that stay what they are."""

    @property
    def checksum(self) -> str: ...


class DatasetPictures:
    """Of a data set, no larger than the generator's.

    Args:
        dataset: which to show.
        size: pixels a side of every region; larger pictures are resampled, with antialiasing.
        num: at most so many, chosen once and for all at random.
    """

    def __init__(self, dataset: Dataset, size: dict[str, int], num: int):
        self.dataset, self.size = dataset, size
        self.name, self.regions = "data", tuple(size)
        self.rows = np.sort(np.random.default_rng(0).permutation(len(dataset))[:num])
        for region, expected in size.items():
            if self._stored(region) < expected:
                found = f"{region} pictures of {self._stored(region)} pixels"
                raise UserError(f"{dataset.path}: expected at least {expected} pixels, as the model has, found {found}")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def checksum(self) -> str:
        text = f"{self.dataset.checksum} {sorted(self.size.items())} {len(self)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, rows: range) -> dict[str, Tensor]:
        return {region: torch.cat([self._picture(region, self.rows[i]) for i in rows]) for region in self.regions}

    def _stored(self, region: str) -> int:
        return self.dataset.image_size if region == "full" else self.dataset.face_size

    def _picture(self, region: str, row: int) -> Tensor:
        """[1, 3, H, W]"""
        read = self.dataset.read_image if region == "full" else self.dataset.read_face
        decoded = decode_png(read(row), self._stored(region), f"{self.dataset.path}: {region} picture {row}")
        pixels = torch.from_numpy(decoded.copy()).permute(2, 0, 1)[None]
        return resampled(pixels, self.size[region])


def resampled(pixels: Tensor, size: int) -> Tensor:
    """[B, 3, H, H] uint8 -> [B, 3, size, size] uint8, as data sets are resampled for training."""
    return pixels if pixels.shape[-1] == size else to_bytes(resize(pixels, size))


class FolderPictures:
    """All pictures of a folder, in the order of names; they must have one size.

    Raises:
        UserError: there is no such folder, or nothing in it; in :meth:`read`, one cannot be read or differs in size.
    """

    def __init__(self, path: str | Path, region: str = "full", num: int | None = None):
        self.path, self.name, self.regions = Path(path), str(path), (region,)
        if not self.path.is_dir():
            raise UserError(f"{path}: no such folder of pictures")
        files = list_files(self.path, PICTURE_SUFFIXES, recursive=True)
        if not files:
            raise UserError(f"{path}: expected pictures ({', '.join(PICTURE_SUFFIXES)}), found none")
        self.files = files[:num]

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def checksum(self) -> str:
        total = hashlib.sha256(self.regions[0].encode())  # features of either region are kept apart
        for file in self.files:
            total.update(bytes.fromhex(file_sha256(file)))
        return total.hexdigest()

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the first one."""
        return read_picture(self.files[0]).size

    def read(self, rows: range) -> dict[str, Tensor]:
        images = []
        for file in (self.files[i] for i in rows):
            picture = read_picture(file)
            if picture.size != self.image_size:
                expected, found = ("{} x {}".format(*size) for size in (self.image_size, picture.size))
                raise UserError(f"{file}: expected {expected} pixels, as {self.files[0].name} has, found {found}")
            images.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        return {self.regions[0]: torch.stack(images)}


class RenderedPictures:
    """What a renderer makes of latents, poses and cameras drawn from labels; the i-th depends on (seed, i) alone.

    Args:
        size: pixels a side of every region, if not as they are rendered: they are resampled, with antialiasing.
    """

    def __init__(
        self,
        renderer: Renderer,
        sampler: InputSampler,
        regions: tuple[str, ...],
        num: int,
        seed: int,
        size: dict[str, int] | None = None,
    ):
        self.renderer, self.sampler, self.regions = renderer, sampler, regions
        self.num, self.seed, self.name, self.size = num, seed, renderer.name, size

    def __len__(self) -> int:
        return self.num

    def read(self, rows: range) -> dict[str, Tensor]:
        inputs = draw_inputs(self.sampler, rows, self.seed)
        found: dict[str, list[Tensor]] = {region: [] for region in self.regions}
        for i, row in enumerate(rows):  # one by one: no picture depends on its neighbours
            views = self.renderer(inputs.part(slice(i, i + 1)), tuple(VIEWS[region] for region in self.regions))
            for region in self.regions:
                image = views[VIEWS[region]].image
                check_finite(image, f"{self.name}: {region} picture {row}")
                found[region].append(resampled(to_bytes(image), self.size[region] if self.size else image.shape[-1]))
        return {region: torch.cat(images) for region, images in found.items()}
