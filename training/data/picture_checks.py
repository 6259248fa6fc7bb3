"""Every picture of a data set, decoded and compared with its checksum."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from torch_utils.misc import UserError
from training.data.checks import Findings
from training.data.layout import FACES, IMAGES, MASKS
from training.data.mask_checks import mask_fault
from training.data.png import decode_png
from training.data.storage import Dataset

MAX_DARK = 0.2  # share of images whose upper corners are not white


class _Checked(NamedTuple):
    errors: list[str]
    dark: bool  # not white in the upper corners


def check_pictures(dataset: Dataset, findings: Findings, landmarks: np.ndarray | None = None) -> None:
    """Adds what is wrong with images, faces and masks to ``findings``; missing files are not its business.

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
    errors, dark = [], False
    for folder, size, mode in (
        (IMAGES, dataset.image_size, "RGB"),
        (FACES, dataset.face_size, "RGB"),
        (MASKS, dataset.image_size, "L"),
    ):
        name = f"{folder}/{dataset.pictures.names[row]}"
        if name not in present:
            continue
        try:
            data = dataset.pictures.read(folder, row)
            pixels = decode_png(data, size, f"{dataset.path}: {name}", mode)
        except UserError as error:
            errors.append(str(error))
            continue
        if hashlib.sha256(data).hexdigest() != dataset.manifest["files"].get(name):
            errors.append(f"{dataset.path}: {name} is not the file that the manifest's checksum is of")
        if folder == MASKS and landmarks is not None and (fault := mask_fault(pixels, landmarks)) is not None:
            errors.append(f"{dataset.path}: {name}: {fault}")
        if folder == IMAGES:
            dark = bool((pixels[0, [0, -1]] < 250).any())
    return _Checked(errors, dark)
