"""Data sets as EG3D, PanoHead and 360PHQ write them: an archive of pictures with ``dataset.json``, another of masks.

``{"labels": [[name, numbers], ...]}``: a camera's 25 numbers (networks/trigrid/camera_labels.py), and in 360PHQ the
rough pose of neck and head, 6 numbers, axis-angle from SMPL's T-pose. Both are kept as they are, to the last bit,
beside this project's own labels, which they give. Going back, sets that have none get theirs from those.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor

from networks.person.body_model import HEAD, MEAN_POSE, NECK, POSED_JOINTS, euler_to_matrix
from networks.trigrid.camera_labels import LABEL_SIZE, PIVOT, POSE_SIZE, portrait_label, project_label
from torch_utils.misc import UserError, atomic_path
from training.data.layout import CAMERA25, ROUGH_POSE, ZipTree
from training.data.storage import Dataset

JSON = "dataset.json"
TURNING = [joint - POSED_JOINTS.start for joint in (NECK, HEAD)]  # rows of joint_eulers
ORTHONORMAL = 2e-3  # how far a rotation may be from one: published means are off by 2e-4
DISTANCES = (0.3, 30.0)  # of a camera from the origin; metres, or whatever the set has


class Eg3dLabels(NamedTuple):
    """Labels of N pictures, float64, by the sorted names of the pictures."""

    names: list[str]
    camera: np.ndarray  # [N, 25]
    pose: np.ndarray | None  # [N, 6]

    def rows(self, kept: np.ndarray) -> Eg3dLabels:
        """Those ``kept`` [N] bool."""
        names = [name for name, keep in zip(self.names, kept.tolist(), strict=True) if keep]
        return Eg3dLabels(names, self.camera[kept], None if self.pose is None else self.pose[kept])


# ---- Reading --------------------------------------------------------------------------------------------------------


def read_labels(archive: ZipTree) -> Eg3dLabels:
    """Labels of an archive's pictures. Raises UserError: there are none, or they are no labels of this kind."""
    where = f"{archive.root}: {JSON}"
    if JSON not in archive.names:
        raise UserError(f"{archive.root}: expected pictures with {JSON}, found none of it")
    try:
        entries = json.loads(archive.read(JSON)).get("labels")
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: expected JSON with 'labels', found something else ({error})") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{where}: expected 'labels', a list of names and numbers, found {_kind(entries)}")
    labels: dict[str, np.ndarray] = {}
    for number, entry in enumerate(entries):
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and _numbers(entry[1])):
            raise UserError(f"{where}: entry {number}: expected a name and 25 or 31 numbers, found {_kind(entry)}")
        if entry[0] in labels:
            raise UserError(f"{where}: '{entry[0]}' is labelled twice")
        labels[entry[0]] = np.array(entry[1], np.float64)
    sizes = {len(label) for label in labels.values()}
    if len(sizes) > 1:
        raise UserError(f"{where}: expected labels of one length, found {sorted(sizes)}")
    names = sorted(labels)
    if missing := [name for name in names if name not in archive.names]:
        raise UserError(f"{archive.root}: '{missing[0]}' has a label, no picture ({len(missing)} are missing)")
    rows = np.stack([labels[name] for name in names])
    return Eg3dLabels(names, rows[:, :LABEL_SIZE], rows[:, LABEL_SIZE:] if rows.shape[1] > LABEL_SIZE else None)


def _numbers(value: Any) -> bool:
    sound = isinstance(value, list) and len(value) in (LABEL_SIZE, LABEL_SIZE + POSE_SIZE)
    return sound and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}" + (f", the second of {len(value[1])}" if _is_pair(value) else "")
    return "nothing" if value is None else type(value).__name__


def _is_pair(value: list) -> bool:
    return len(value) == 2 and isinstance(value[1], list)


def pair_masks(labels: Eg3dLabels, masks: ZipTree) -> list[str]:
    """The mask of every picture, by its name. Raises UserError: some have none."""
    stems = {name.rsplit(".", 1)[0]: name for name in masks.names.tolist()}
    found = [stems.get(name.rsplit(".", 1)[0]) for name in labels.names]
    missing = [name for name, mask in zip(labels.names, found, strict=True) if mask is None]
    if missing:
        raise UserError(f"{masks.root}: expected a mask of '{missing[0]}', found none ({len(missing)} are missing)")
    return [mask for mask in found if mask is not None]


def check_labels(labels: Eg3dLabels, where: str) -> None:
    """UserError naming the first picture whose label is no camera, or no pose, and what is wrong with it."""
    faults = camera_faults(labels.camera)
    if labels.pose is not None:
        angle = np.linalg.norm(labels.pose.reshape(-1, 2, 3), axis=-1).max(1)
        wild = (angle > math.pi) & (faults == "")
        faults = np.where(wild, "a pose beyond pi radians (degrees?)", faults)
    if (bad := np.flatnonzero(faults != "")).size:
        more = f" ({len(bad)} such labels)" if len(bad) > 1 else ""
        raise UserError(f"{where}: '{labels.names[bad[0]]}': expected a camera, found {faults[bad[0]]}{more}")


def camera_faults(camera: np.ndarray) -> np.ndarray:
    """What is wrong with labels [N, 25], as words; '' where nothing is."""
    pose, k = camera[:, :16].reshape(-1, 4, 4), camera[:, 16:].reshape(-1, 3, 3)
    rotation, position = pose[:, :3, :3], pose[:, :3, 3]
    off = np.abs(rotation @ rotation.swapaxes(1, 2) - np.eye(3)).max((1, 2))
    distance = np.linalg.norm(position, axis=-1)
    with np.errstate(all="ignore"):
        seen = project_label(torch.tensor([[PIVOT]], dtype=torch.float64).expand(len(camera), 1, 3),
                             torch.from_numpy(camera))[:, 0].numpy()  # fmt: skip
        ahead = ((np.array(PIVOT) - position) * rotation[:, :, 2]).sum(-1)
    faults = np.full(len(camera), "", dtype=object)
    for wrong, words in (
        (~(np.abs(seen - 0.5) <= 0.5).all(-1) | (ahead <= 0), "one that does not look at the head"),
        (rotation[:, 1, 1] >= 0, "one upside down (columns are right, down, forward)"),
        (~((distance >= DISTANCES[0]) & (distance <= DISTANCES[1])), "one at a distance of 0, or very far away"),
        (~((k[:, 0, 0] > 0.3) & (k[:, 1, 1] > 0.3)), "a focal length that is not one of the picture's side"),
        (~(k[:, 2] == (0, 0, 1)).all(-1) | (k[:, 1, 0] != 0), "intrinsics that are none"),
        ((off > ORTHONORMAL) | (np.linalg.det(rotation) < 0), "a matrix that is no rotation"),
        (~(pose[:, 3] == (0, 0, 0, 1)).all(-1), "a matrix whose last row is not 0, 0, 0, 1"),
    ):
        faults[wrong] = words  # the most telling one last
    return faults


# ---- This project's labels ------------------------------------------------------------------------------------------


def house_camera(camera: np.ndarray) -> np.ndarray:
    """(pitch, yaw) [N, 2] of the direction from the head to cameras [N, 25]. Roll, and what they look at, are lost."""
    away = camera[:, :16].reshape(-1, 4, 4)[:, :3, 3] - np.array(PIVOT)
    x, y, z = (away / np.linalg.norm(away, axis=-1, keepdims=True)).T
    return np.stack([np.arccos(y.clip(-1, 1)), np.arctan2(z, x)], -1)


def house_pose(pose: np.ndarray) -> np.ndarray:
    """joint_eulers [N, 6, 3] of poses [N, 6]; the rest of the body hangs in the mean pose."""
    turns = roma.rotvec_to_rotmat(torch.from_numpy(pose).reshape(-1, 2, 3))  # from the T-pose
    eulers = torch.zeros(len(pose), 6, 3, dtype=torch.float64)
    eulers[:, TURNING] = roma.rotmat_to_euler("ZYX", (turns @ _mean().mT).flatten(0, 1)).unflatten(0, (-1, 2))
    return eulers.numpy()


def rough_pose(joint_eulers: np.ndarray) -> np.ndarray:
    """The inverse of :func:`house_pose`: poses [N, 6] of joint_eulers [N, 6, 3]."""
    turns = euler_to_matrix(torch.from_numpy(joint_eulers).double()[:, TURNING]) @ _mean()
    return roma.rotmat_to_rotvec(turns).flatten(1).numpy()


def _mean() -> Tensor:
    """Rotations [2, 3, 3] of neck and head in the mean pose, from the T-pose."""
    return euler_to_matrix(torch.tensor(MEAN_POSE, dtype=torch.float64))[TURNING]


def labels_of(dataset: Dataset) -> Eg3dLabels:
    """A set's labels in this format: as they came, or made of this project's own."""
    labels, count = dataset.labels, len(dataset)
    names = dataset.manifest.get("original_names") or [f"{i // 1000:010d}/{i:010d}.png" for i in range(count)]
    if CAMERA25 in labels:
        return Eg3dLabels(list(names), labels[CAMERA25], labels.get(ROUGH_POSE))
    camera = portrait_label(torch.from_numpy(labels["camera"]).double(), dataset.image_size).numpy()
    return Eg3dLabels(list(names), camera, rough_pose(labels["joint_eulers"]))


# ---- Writing --------------------------------------------------------------------------------------------------------


def write_archives(dataset: Dataset, images: Path, masks: Path | None) -> None:
    """A data set as archives that 3DPortraitGAN's and EG3D's code reads: stored, names in order.

    Raises:
        UserError: it has no masks and they are asked for, or a place cannot be written to.
    """
    if masks is not None and not dataset.has_masks:
        raise UserError(f"{dataset.path}: expected masks, found none")
    labels = labels_of(dataset)
    rows = labels.camera if labels.pose is None else np.concatenate([labels.camera, labels.pose], 1)
    listed = [[name, row.tolist()] for name, row in zip(labels.names, rows, strict=True)]
    pictures = [(name, lambda i=i: dataset.read_image(i)) for i, name in enumerate(labels.names)]
    _write_zip(images, [*pictures, (JSON, lambda: json.dumps({"labels": listed}).encode())])
    if masks is not None:
        _write_zip(masks, [(name, lambda i=i: dataset.read_mask(i)) for i, name in enumerate(labels.names)])


def _write_zip(path: Path, files: Sequence[tuple[str, Any]]) -> None:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, read in files:
            archive.writestr(zipfile.ZipInfo(name), read())


def yaw_histogram(camera: np.ndarray, bins: int = 12) -> str:
    """How many cameras [N, 2] look from where, in words: degrees from the front, to the person's left positive."""
    yaw = np.degrees(np.angle(np.exp(1j * (math.pi / 2 - camera[:, 1]))))
    width = 360 // bins
    counts = np.bincount(((yaw + 180) // width).astype(int) % bins, minlength=bins)
    return ", ".join(f"{-180 + width * k}: {count}" for k, count in enumerate(counts))
