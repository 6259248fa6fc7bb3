"""Motions that ship with the project: which keyframe files play together, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from inference.keyframes import Kind

KEYFRAMES = Path(__file__).resolve().parents[1] / "keyframes"


class ShippedMotion(NamedTuple):
    """Keyframe files as gen_video.py takes them."""

    title: str
    files: Mapping[Kind, Path]
    n_interval: int  # frames from a keyframe to the next
    fps: float


def _motion(title: str, n_interval: int = 8, fps: float = 20, **names: str) -> ShippedMotion:
    kinds: tuple[Kind, ...] = ("expression", "pose", "camera")
    return ShippedMotion(title, {kind: KEYFRAMES / names[kind] for kind in kinds if kind in names}, n_interval, fps)


_TALK = {"expression": "talk/expression.npz", "pose": "talk/joint_eulers.npy", "camera": "talk/camera_pose.npy"}
MOTIONS = [
    _motion("Expressions and poses", expression="expression.npz", pose="pose.npy"),
    _motion("Talk", 1, 12.5, **_TALK),
    _motion("Head", pose="headpose.npy"),
    _motion("Shoulders", pose="shoulderpose.npy"),
    _motion("Camera", camera="orbit.npy"),
]
