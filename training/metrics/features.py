"""Features of all pictures of a source, in a file: memory does not grow with their number.

Pictures are shared out among the processes that ``torchrun`` started; what comes out depends neither on their number
nor on the size of batches (beyond rounding in the detector).
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, distributed
from tqdm import tqdm

from torch_utils.distributed import World, is_alone
from torch_utils.misc import UserError, atomic_path, file_sha256, reason
from training.metrics.detectors import Detector
from training.metrics.pictures import CachedPictures, Pictures

T = TypeVar("T")


def default_cache() -> Path:
    """Where features of data sets are kept."""
    return Path.home() / ".cache" / "aniportraitgan" / "features"


def extract_features(
    pictures: Pictures, detector: Detector, folder: Path, world: World, *, batch_size: int
) -> dict[str, np.ndarray]:
    """Write the features of all pictures to ``folder/REGION.npy``, from the first process.

    Returns:
        them, memory-mapped [N, D] float32, by region; nothing on the other processes.

    Raises:
        UserError: a picture cannot be read or rendered, or a file cannot be written.
    """
    count, stride = len(pictures), batch_size * world.size
    paths = {region: folder / f"{region}.npy" for region in pictures.regions}
    with ExitStack() as stack:
        files = {}
        if world.is_main:
            for region, path in paths.items():
                # Not through a memory map: on a full disk, that ends the process.
                file = stack.enter_context(stack.enter_context(atomic_path(path)).open("wb"))
                about = {"descr": "<f4", "fortran_order": False, "shape": (count, detector.width)}
                np.lib.format.write_array_header_1_0(file, about)
                files[region] = file
        for start in tqdm(range(0, count, stride), desc=pictures.name, leave=False, disable=not world.is_main):
            first = start + world.rank * batch_size
            own = range(min(first, count), min(first + batch_size, count))
            images = pictures.read(own) if own else {}
            for region in paths:
                found = torch.zeros(batch_size, detector.width)
                if own:
                    found[: len(own)] = detector.features(images[region])
                gathered = _gather(found, world)[: count - start].numpy()
                if world.is_main:
                    files[region].write(gathered.astype("<f4").tobytes())
    return {region: open_features(paths[region], [count, detector.width]) for region in files}


def _gather(own: Tensor, world: World) -> Tensor:
    """The rows of all processes, in the order of ranks."""
    if is_alone():
        return own
    parts = [torch.empty_like(own, device=world.device) for _ in range(world.size)]
    distributed.all_gather(parts, own.to(world.device))
    return torch.cat(parts).cpu()


def cached_features(
    pictures: CachedPictures, detector: Detector, cache: Path, world: World, *, batch_size: int
) -> dict[str, np.ndarray]:
    """:func:`extract_features` of pictures that stay what they are, from an earlier call where there was one.

    Raises:
        UserError: as there, or what lies in the cache belongs to other pictures or another detector.
    """
    shape = [len(pictures), detector.width]
    about = {
        "pictures": pictures.checksum,
        "detector": detector.name,
        "weights": detector.checksum,
        "shape": shape,
    }
    folder = cache / f"{detector.name}-{pictures.checksum[:16]}"
    note, paths = folder / "features.json", {region: folder / f"{region}.npy" for region in pictures.regions}
    if not from_main(note.exists(), world):
        features = extract_features(pictures, detector, folder, world, batch_size=batch_size)
        if world.is_main:
            with atomic_path(note) as temporary:  # last: features without it count for nothing
                temporary.write_text(json.dumps(about | _checksums(paths), indent=1), encoding="utf-8")
        return features
    if not world.is_main:
        return {}
    _check(note, about | _checksums(paths))
    return {region: open_features(path, shape) for region, path in paths.items()}


def _checksums(paths: dict[str, Path]) -> dict[str, str]:
    """Of the files of all regions, by their names; UserError where one cannot be read."""
    try:
        return {path.name: file_sha256(path) for path in paths.values()}
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {reason(error)}; remove the folder") from None


def from_main(value: T, world: World) -> T:
    """What ``value`` is on the first process."""
    if is_alone():
        return value
    box = [value]
    distributed.broadcast_object_list(box, 0, device=world.device)
    return box[0]


def open_features(path: Path, shape: list[int]) -> np.ndarray:
    """Memory-mapped features; raises UserError where the file is damaged, of another shape, or holds NaN."""
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises many kinds: OSError, ValueError, EOFError, tokenize.TokenError ...
        raise UserError(f"{path}: no readable features ({error}); remove the folder to make it anew") from None
    if list(features.shape) != list(shape):
        raise UserError(f"{path}: expected features {list(shape)}, found {list(features.shape)}; remove the folder")
    for start in range(0, len(features), 1024):
        if not np.isfinite(features[start : start + 1024]).all():
            raise UserError(f"{path}: expected finite features, found NaN or infinity; remove the folder")
    return features


def _check(path: Path, about: dict) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove the folder") from None
    for key, expected in about.items():
        if not isinstance(found, dict) or found.get(key) != expected:
            got = found.get(key) if isinstance(found, dict) else type(found).__name__
            what = f"{key}: expected {expected}, found {got}"
            raise UserError(f"{path}: damaged, or cached features of something else ({what}); remove the folder")
