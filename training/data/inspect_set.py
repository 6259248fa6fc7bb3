"""`python -m training.data inspect`: everything that may be wrong with a data set, statistics, a picture sheet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from networks.person.body_assets import default_body, head_shoulder_vertices, load_smpl
from networks.person.body_model import BodyModel
from networks.person.face_model import FaceModel, default_face, load_bfm
from torch_utils.bounds import whole_number
from torch_utils.misc import UserError, atomic_path, one_line
from training.data.checks import Findings, check_dataset
from training.data.label_models import KINDS, find_model, model_name, named_models
from training.data.layout import FILLED, IMAGES
from training.data.overlay import Overlay, project_labels
from training.data.picture_checks import check_pictures
from training.data.sheet import draw_sheet
from training.data.storage import Dataset, open_dataset

MAX_SHOWN = 20  # messages of a kind
# Stored landmarks further than this share of the image from the projected ones are taken for another convention.
MAX_LANDMARK_GAP = 0.03
JOINTS = ("neck", "left collar", "right collar", "head", "left shoulder", "right shoulder")


class Models(NamedTuple):
    body: BodyModel
    face: FaceModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line; see the module's docstring."""
    parser.add_argument("path", type=Path, help="data set: a folder or an uncompressed zip")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="write a sheet with joints and landmarks")
    parser.add_argument(
        "--num", type=whole_number(1, 1000), default=24, help="people on the sheet (default: %(default)s)"
    )
    parser.add_argument("--plain", action="store_true", help="the sheet without joints and landmarks")
    parser.add_argument("--body_model", type=Path, metavar="FILE", help="SMPL file of the labels (default: as it says)")
    parser.add_argument("--face_model", type=Path, metavar="FILE", help="3DMM file of the labels (default: as it says)")


def run(args: argparse.Namespace) -> None:
    """Prints statistics and findings, writes the sheet. Raises UserError if the data set has errors."""
    if args.sheet is not None and args.sheet.suffix.lower() != ".png":
        raise UserError(f"--sheet: expected a name that ends in .png, found {args.sheet}")
    dataset = open_dataset(args.path)
    print(f"{args.path}: '{dataset.manifest['name']}', made by: {dataset.manifest['made_by']}")
    print(f"{len(dataset)} images {dataset.image_size}^2, faces {dataset.face_size}^2")
    if dataset.has_maps:
        print(f"depth and normals of {len(dataset)} images and {len(dataset)} faces")
    print(f"checksum {dataset.checksum}")
    files = _model_files(dataset, args)
    findings = check_dataset(dataset)
    landmarks = None
    if not findings.errors:  # labels are sound
        models = _load_models(files)
        landmarks = _overlay(dataset, models, np.arange(len(dataset))).landmarks.numpy()
    check_pictures(dataset, findings, None if landmarks is None else dataset.labels.get("landmarks", landmarks))
    if landmarks is not None:
        _check_models(dataset, files, findings)
        _check_landmarks(dataset, landmarks, findings)
        print("\n".join(["", *label_table(dataset), *_filled(dataset), ""]))
        if args.sheet is not None:
            _write_sheet(args.sheet, dataset, None if args.plain else models, args.num)
    _report(args.path, findings)


def _model_files(dataset: Dataset, args: argparse.Namespace) -> dict[str, Path | None]:
    """The files of body and face, None the open one: the given ones, else those that the manifest names.

    Raises:
        UserError: they are not there.
    """
    given, named = {"body": args.body_model, "face": args.face_model}, named_models(dataset.manifest)
    return {kind: given[kind] or find_model(kind, named.get(kind), dataset.path) for kind in KINDS}


def _load_models(files: Mapping[str, Path | None]) -> Models:
    body = load_smpl(files["body"]) if files["body"] else default_body()
    face = load_bfm(files["face"]) if files["face"] else default_face()
    return Models(BodyModel(body, torch.from_numpy(head_shoulder_vertices(body))), FaceModel(face))


def _check_models(dataset: Dataset, files: Mapping[str, Path | None], findings: Findings) -> None:
    """Says which models are used, and where given ones are not those that the manifest names."""
    names = {kind: model_name(files[kind]) for kind in KINDS}
    print(f"labels projected with: body {names['body']}, face {names['face']}")
    for kind, named in named_models(dataset.manifest).items():
        if names[kind] != named:
            findings.warnings.append(f"{dataset.path}: its labels refer to the {kind} {named}, not to {names[kind]}")


def _check_landmarks(dataset: Dataset, projected: np.ndarray, findings: Findings) -> None:
    """Stored landmarks against those [N, 68, 2] that the other labels project."""
    stored = dataset.labels.get("landmarks")
    if stored is None:
        return
    gaps = np.linalg.norm(projected - stored, axis=-1).mean(1)  # [N] pixels
    median, worst = float(np.median(gaps)), int(gaps.argmax())
    print(f"stored and projected landmarks: {median:.2f} pixels apart (median), {gaps[worst]:.2f} at most")
    if median > MAX_LANDMARK_GAP * dataset.image_size:
        findings.warnings.append(
            f"{dataset.path}: stored landmarks are {median:.1f} pixels (median) from where the other labels put them; "
            f"is a convention or a model another one? The worst: {IMAGES}/{dataset.pictures.names[worst]}"
        )


@torch.no_grad()
def _overlay(dataset: Dataset, models: Models, rows: np.ndarray) -> Overlay:
    sizes = {"image_size": dataset.image_size, "face_size": dataset.face_size}
    parts = []
    for part in np.array_split(rows, -(-len(rows) // 1024)):
        labels = {name: torch.from_numpy(array[part]) for name, array in dataset.labels.items()}
        parts.append(project_labels(labels, models.body, models.face, **sizes))
    return Overlay(*(torch.cat(arrays) for arrays in zip(*parts, strict=True)))


def label_table(dataset: Dataset) -> list[str]:
    """Lines with mean, spread and range of the labels; angles in degrees."""
    labels = dataset.labels
    rows = [
        (f"{name} {angle}", np.degrees(labels[name][:, column]))
        for name in ("camera", "face_camera")
        for column, angle in enumerate(("pitch", "yaw"))
    ]
    for joint, name in enumerate(JOINTS):
        rows += [(f"{name} {axis}", np.degrees(labels["joint_eulers"][:, joint, e])) for e, axis in enumerate("zyx")]
    rows += [(name, labels[name]) for name in ("betas", "z_id", "z_exp")]
    lines = [f"{'label':20s} {'mean':>8s} {'spread':>8s} {'least':>8s} {'most':>8s}   (angles in degrees)"]
    for name, values in rows:
        numbers = (values.mean(), values.std(), values.min(), values.max())
        lines.append(f"{name:20s} " + " ".join(f"{number:8.2f}" for number in numbers))
    return lines


def _filled(dataset: Dataset) -> list[str]:
    """How much of the people was made up beyond their photos' edges (prepare --fill)."""
    if FILLED not in dataset.labels:
        return []
    share = dataset.labels[FILLED]
    return [
        f"made up beyond the photo's edge: in {(share > 0).sum()} of {len(share)} images, {share.mean():.1%} of the "
        f"picture on average, {share.max():.1%} at most"
    ]


def _write_sheet(path: Path, dataset: Dataset, models: Models | None, num: int) -> None:
    """With joints and landmarks where there are models."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(num, len(dataset))).round().astype(int))
    overlay = None if models is None else _overlay(dataset, models, rows)
    sheet = draw_sheet(dataset, rows.tolist(), overlay)
    with atomic_path(path) as temporary:
        sheet.save(temporary)
    print(f"sheet: {path}")


def _report(path: Path, findings: Findings) -> None:
    """Prints the findings, a line each; raises UserError where there are errors."""
    for kind, messages in findings._asdict().items():
        for message in messages[:MAX_SHOWN]:
            print(f"{kind.removesuffix('s')}: {one_line(message)}", file=sys.stderr)
        if len(messages) > MAX_SHOWN:
            print(f"... and {len(messages) - MAX_SHOWN} more {kind}", file=sys.stderr)
    if findings.errors:
        raise UserError(f"{path}: {_count(findings.errors, 'error')}; training would refuse this data set")
    print(f"{path}: sound" + (f", {_count(findings.warnings, 'warning')}" if findings.warnings else ""))


def _count(messages: list[str], kind: str) -> str:
    return f"{len(messages)} {kind}{'s' * (len(messages) != 1)}"
