"""Is a data set sound? The quick checks that training insists on: files, manifest and labels, but no pixels."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np

from networks.cameras import FRONTAL
from torch_utils.misc import UserError
from training.data.layout import (
    FACES,
    IMAGES,
    LABEL_SHAPES,
    LABELS,
    MANIFEST,
    MAPS,
    MASKS,
    OPTIONAL_LABEL_SHAPES,
    label_type,
)
from training.data.storage import Dataset

_CAMERAS = ("camera", "face_camera")
MIN_STATISTICS = 20  # images, below which the spreads of angles mean nothing


class Findings(NamedTuple):
    """Messages, a line each, with the file's name."""

    errors: list[str]  # training refuses
    warnings: list[str]  # a person should look


def check_dataset(dataset: Dataset) -> Findings:
    """Everything that can be said without decoding a picture."""
    findings = Findings([], [])
    _check_files(dataset, findings)
    for name, shape in (LABEL_SHAPES | OPTIONAL_LABEL_SHAPES).items():
        _check_label(dataset, name, shape, findings)
    for name in dataset.labels.keys() - LABEL_SHAPES.keys() - OPTIONAL_LABEL_SHAPES.keys():
        _check_label(dataset, name, dataset.labels[name].shape[1:], findings)
    if not findings.errors:
        _check_angles(dataset, findings)
    return findings


def require_sound(dataset: Dataset) -> None:
    """What training calls first. Raises UserError with the first error that :func:`check_dataset` finds."""
    errors = check_dataset(dataset).errors
    if errors:
        more = f"; {len(errors) - 1} more: python -m training.data inspect {dataset.path}" if len(errors) > 1 else ""
        raise UserError(f"{errors[0]}{more}")


def _check_files(dataset: Dataset, findings: Findings) -> None:
    """Files on disk against the manifest, and images against faces, masks and maps."""
    tree, path, errors = dataset.pictures.tree, dataset.path, findings.errors
    listed, present = set(dataset.manifest["files"]), set(tree.names.tolist()) - {MANIFEST, LABELS}
    errors += [f"{path}: {name} is in the zip more than once" for name in tree.repeated]
    errors += [f"{path}: {name} is missing" for name in sorted(listed - present)]
    errors += [f"{path}: {name} is not in {MANIFEST}" for name in sorted(present - listed)]
    images = set(dataset.pictures.names.tolist())
    maps = any(name.split("/")[0] in MAPS for name in present)
    for folder in (FACES, MASKS, *(MAPS if maps else ())):
        names = {name.removeprefix(f"{folder}/") for name in present if name.startswith(f"{folder}/")}
        if folder == MASKS and not names:
            continue
        errors += [f"{path}: {folder}/{name} is missing; {IMAGES}/{name} is there" for name in sorted(images - names)]
        errors += [f"{path}: {folder}/{name} has no {IMAGES}/{name}" for name in sorted(names - images)]
    stems: dict[str, str] = {}
    for name in sorted(images):
        other = stems.setdefault(name.rsplit(".", 1)[0].lower(), name)
        if other != name:
            errors.append(f"{path}: duplicate names: {IMAGES}/{other} and {IMAGES}/{name}")
        if not name.endswith(".png"):
            errors.append(f"{path}: {IMAGES}/{name}: expected a .png file")
    if not images:
        errors.append(f"{path}: no pictures in {IMAGES}/")
    if dataset.manifest["num"] != len(images):
        errors.append(f"{path}: {MANIFEST} says {dataset.manifest['num']} images, found {len(images)}")
    if hashlib.sha256(tree.read(LABELS)).hexdigest() != dataset.manifest["labels_sha256"]:
        errors.append(f"{path}: {LABELS} is not the file that the manifest's checksum is of")
    digests: dict[str, str] = {}
    for name, digest in sorted(dataset.manifest["files"].items()):
        if name.startswith(f"{IMAGES}/") and digests.setdefault(digest, name) != name:
            findings.warnings.append(f"{path}: {name} is the same picture as {digests[digest]}")


def _check_label(dataset: Dataset, name: str, shape: tuple[int, ...], findings: Findings) -> None:
    """Presence, type, shape and finiteness of one array."""
    where, count, errors = f"{dataset.path}: {LABELS}: '{name}'", dataset.manifest["num"], findings.errors
    if name not in dataset.labels:
        if name in LABEL_SHAPES:
            errors.append(f"{where} is missing")
        return
    array = dataset.labels[name]
    if array.dtype != label_type(name):
        errors.append(f"{where}: expected {label_type(name).__name__}, found {array.dtype}")
    elif array.shape != (count, *shape):
        errors.append(f"{where}: expected shape {[count, *shape]}, found {list(array.shape)}")
    else:
        bad = np.flatnonzero(~np.isfinite(array.reshape(count, -1)).all(1))
        names = sorted(name for name in dataset.manifest["files"] if name.startswith(f"{IMAGES}/"))
        errors += [f"{where}: NaN or infinity for {names[row] if row < len(names) else f'row {row}'}" for row in bad]


def _check_angles(dataset: Dataset, findings: Findings) -> None:
    """Units and conventions, as far as numbers give them away."""
    where, errors = f"{dataset.path}: {LABELS}", findings.errors
    for name in ("joint_eulers", *_CAMERAS):
        largest = np.abs(dataset.labels[name]).max()
        if largest > 2 * math.pi:
            errors.append(f"{where}: '{name}': expected radians, found {largest:.1f}; are these degrees?")
    if errors:
        return
    eulers, names = dataset.labels["joint_eulers"], dataset.pictures.names
    wild = np.flatnonzero((np.abs(eulers) > math.pi).any((1, 2)))
    errors += [f"{where}: 'joint_eulers' beyond pi for {IMAGES}/{names[row]}" for row in wild]
    for name in _CAMERAS:
        angles = dataset.labels[name]
        median = np.median(angles, 0)
        # Cameras all round have no middle: 1 is the same yaw for all, 0 an even spread.
        together = np.abs(np.exp(1j * angles[:, 1]).mean()) > 0.7
        if (np.abs(median - FRONTAL) > 0.75)[: 2 if together else 1].any():
            errors.append(
                f"{where}: '{name}': expected (pitch, yaw) around (pi/2, pi/2) = in front, found a median of "
                f"({median[0]:.2f}, {median[1]:.2f})"
            )
            continue
        beyond = np.flatnonzero((angles[:, 0] <= 0) | (angles[:, 0] >= math.pi))
        errors += [f"{where}: '{name}': pitch beyond 0..pi for {IMAGES}/{names[row]}" for row in beyond]
        pitch, yaw = angles.std(0)
        if len(angles) >= MIN_STATISTICS and pitch > 1.15 * yaw and pitch > 0.02:
            findings.warnings.append(
                f"{where}: '{name}': pitch spreads more than yaw ({pitch:.3f} and {yaw:.3f} rad); people turn "
                "more than they nod: were the columns swapped?"
            )
