"""The body and face models that tracking refers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from networks.person.body_assets import default_body, head_shoulder_vertices, load_smpl
from networks.person.body_model import BodyModel
from networks.person.face_model import FaceModel, default_face, load_bfm
from networks.person.tracking import UNIT, FaceFrame
from networks.person.tracking_files import bfm_frame
from torch_utils.assets import face_model_file, smpl_file
from training.data.label_models import MODEL_FOLDER, OPEN, model_name

OPEN_FACE_UNIT = 0.1 / UNIT  # canonical units; the Basel model counts in 0.1 m


@dataclass(frozen=True, kw_only=True)
class Models:
    """What turns tracking into geometry, and the names of its files."""

    body: BodyModel
    face: FaceModel
    face_frame: FaceFrame
    names: dict[str, str]  # of body and face, see training.data.label_models

    @property
    def name(self) -> str:
        return ", ".join(f"{kind} {name}" for kind, name in self.names.items())

    @property
    def warning(self) -> str:
        """What it means where open models stand in for those of real tracking; empty where none does."""
        standing_in = {"body": "SMPL", "face": "Basel face model"}
        missing = [what for kind, what in standing_in.items() if self.names[kind] == OPEN]
        if not missing:
            return ""
        return (
            f"no {' and no '.join(missing)} given or in {MODEL_FOLDER}/, so an open model stands in. That is right "
            "for drawn people only: fits of real photos refer to the real model's shapes and joints, so portraits will "
            "be misplaced by a few per cent, and identity, expression and body shape will mean something else. For "
            f"real photos put the files there first: {MODEL_FOLDER}/README.md"
        )


def open_models() -> Models:
    """The open body and face, whatever else there is."""
    return _models(None, None)


def load_models(body_file: str | None, face_file: str | None) -> Models:
    """The given files; without them those in smpl_models/; without those the open models, which real tracking does
    not refer to.

    Raises:
        UserError: a file is missing or not sound.
    """
    return _models(smpl_file(body_file), face_model_file(face_file))


def _models(body_path: Path | None, face_path: Path | None) -> Models:
    arrays = load_smpl(body_path) if body_path else default_body()
    face = load_bfm(face_path) if face_path else default_face()
    if face_path:
        frame = bfm_frame(face_path, face)
    else:
        frame = FaceFrame(OPEN_FACE_UNIT, np.eye(3), face.mean.mean(0).astype(np.float64))
    return Models(
        body=BodyModel(arrays, torch.from_numpy(head_shoulder_vertices(arrays))).double(),
        face=FaceModel(face).double(),
        face_frame=frame,
        names={"body": model_name(body_path), "face": model_name(face_path)},
    )
