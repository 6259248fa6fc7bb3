"""Every picture of a data set, decoded and compared with its checksum."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from torch_utils.misc import UserError
from training.data.checks import Findings
from training.data.layout import DEPTH, FACE_DEPTH, FACE_NORMALS, FACES, IMAGES, MASKS, NORMALS
from training.data.maps import map_fault
from training.data.mask_checks import mask_fault
from training.data.png import decode_png
from training.data.storage import Dataset

MAX_DARK = 0.2  # share of images whose upper corners are not white


class _Checked(NamedTuple):
    errors: list[str]
    dark: bool  # not white in the upper corners


def check_pictures(dataset: Dataset, findings: Findings, landmarks: np.ndarray | None = None) -> None:
    """Adds what is wrong with images, faces, masks and maps to ``findings``; missing files are not its business.

    Args:
        dataset: whose pictures are decoded.
        findings: to add to.
        landmarks: [N, 68, 2] pixels of the images; with them masks are asked whether they show people.
    """
    present = set(dataset.pictures.tree.names.tolist())

    def check(row: int) -> _Checked:
        return _check_row(dataset, row, present, None if landmarks is None else landmarks[row])

    # Threads will do: reading, hashing and decoding let go of the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(check, range(len(dataset)))
        checked = list(tqdm(results, "pictures", len(dataset), unit="image", file=sys.stderr, leave=False))
    findings.errors.extend(error for row in checked for error in row.errors)
    dark = sum(row.dark for row in checked)
    if dark > MAX_DARK * len(dataset):
        findings.warnings.append(
            f"{dataset.path}: {dark} of {len(dataset)} images are not white in the upper corners; were the backgrounds "
            "removed?"
        )


def _check_row(dataset: Dataset, row: int, present: set[str], landmarks: np.ndarray | None) -> _Checked:
    errors, decoded = [], {}
    for folder, size, mode in (
        (IMAGES, dataset.image_size, "RGB"),
        (FACES, dataset.face_size, "RGB"),
        (MASKS, dataset.image_size, "L"),
        (DEPTH, dataset.image_size, "I;16"),
        (NORMALS, dataset.image_size, "RGB"),
        (FACE_DEPTH, dataset.face_size, "I;16"),
        (FACE_NORMALS, dataset.face_size, "RGB"),
    ):
        name = f"{folder}/{dataset.pictures.names[row]}"
        if name not in present:
            continue
        try:
            data = dataset.pictures.read(folder, row)
            decoded[folder] = decode_png(data, size, f"{dataset.path}: {name}", mode)
        except UserError as error:
            errors.append(str(error))
            continue
        if hashlib.sha256(data).hexdigest() != dataset.manifest["files"].get(name):
            errors.append(f"{dataset.path}: {name} is not the file that the manifest's checksum is of")
    errors += [f"{dataset.path}: {fault}" for fault in _faults(decoded, dataset.pictures.names[row], landmarks)]
    return _Checked(errors, IMAGES in decoded and bool((decoded[IMAGES][0, [0, -1]] < 250).any()))


def _faults(decoded: Mapping[str, np.ndarray], name: str, landmarks: np.ndarray | None) -> Iterator[str]:
    """What is wrong with the pixels of one row's mask and maps, with the file's name."""
    mask = decoded.get(MASKS)
    if mask is not None and landmarks is not None and (fault := mask_fault(mask, landmarks)) is not None:
        yield f"{MASKS}/{name}: {fault}"
    for depth, normals, shown in ((DEPTH, NORMALS, mask), (FACE_DEPTH, FACE_NORMALS, None)):
        both = depth in decoded and normals in decoded
        if both and (fault := map_fault(decoded[depth], decoded[normals], shown)) is not None:
            yield f"{depth}/{name}, {normals}/{name}: {fault}"
