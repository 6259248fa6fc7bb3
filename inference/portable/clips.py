"""Motions that travel with an avatar: keyframe files, played as gen_video.py plays them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inference.keyframes import SHAPES, Kind, load_file, make_motion
from inference.motions import MOTIONS
from networks.person.expressions import BASEL, carried

KINDS: tuple[Kind, ...] = tuple(SHAPES)


class Clip(NamedTuple):
    """A closed loop of F frames, its first one again at the end. None: that part stays as it is."""

    name: str
    fps: float
    expression: np.ndarray | None  # [F + 1, 64] of the person's model
    joint_eulers: np.ndarray | None  # [F + 1, 6, 3] radians
    camera: np.ndarray | None  # [F + 1, 2] pitch, yaw in radians

    @property
    def seconds(self) -> np.ndarray:
        """When the frames are."""
        count = max(len(part) for part in self[2:] if part is not None)
        return (np.arange(count) / self.fps).astype(np.float32)


def make_clip(name: str, rows: Mapping[Kind, np.ndarray], *, n_interval: int, fps: float, names=KINDS) -> Clip:
    """Keyframes of at least one kind, as :func:`inference.keyframes.check_keyframes` gives them, as a clip.

    Raises:
        UserError: numbers of keyframes that differ; ``names`` are how messages name the three kinds.
    """
    motion = make_motion(*(rows.get(kind) for kind in KINDS), n_interval=n_interval, names=names)
    parts = [part if kind in rows else None for kind, part in zip(KINDS, motion, strict=True)]
    return Clip(name, fps, *(part if part is None else np.concatenate([part, part[:1]]) for part in parts))


def load_clip(
    name: str, paths: Mapping[Kind, str | Path], face_model: str | None, *, n_interval: int, fps: float
) -> Clip:
    """Keyframe files, at least one, as a clip for a model whose expressions are ``face_model``'s.

    Raises:
        UserError: a file that is none, of another face model, or files of different lengths.
    """
    files = {kind: load_file(path, kind) for kind, path in paths.items()}
    rows = {kind: file.rows for kind, file in files.items()}
    if "expression" in files:
        rows["expression"] = carried(*files["expression"], face_model, str(paths["expression"]))
    names = [str(paths.get(kind)) for kind in KINDS]
    return make_clip(name, rows, n_interval=n_interval, fps=fps, names=names)


def shipped_clips(face_model: str | None) -> list[Clip]:
    """The motions that ship with the project, without expressions where the model's have no names."""
    clips = []
    for title, files, n_interval, fps in MOTIONS:
        files = {kind: path for kind, path in files.items() if kind != "expression" or face_model != BASEL}
        clips.append(load_clip(title, files, face_model, n_interval=n_interval, fps=fps))
    return clips
