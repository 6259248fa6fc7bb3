"""What people and frames may be asked for: seeds, latents, expressions, poses, cameras, each checked by name."""

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from networks.cameras import FRONTAL
from networks.person.controls import MAX_EULER, MAX_YAW

FRONTAL_CAMERA = (FRONTAL, FRONTAL)
CAMERA_RANGE = ((0.0, -MAX_YAW), (math.pi, MAX_YAW))  # of pitch, of yaw
Array = Tensor | np.ndarray | Sequence[float]  # or anything torch.as_tensor takes
Quality = Literal["fast", "exact", "layers"]
QUALITIES = get_args(Quality)


def check_seed(seed: Any) -> int:
    """``seed`` as a plain integer, whatever type it has; ValueError unless it fits in 64 bits, signed or not."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise ValueError(f"seed: expected an integer, found {type(seed).__name__} {seed!r}") from None
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError(f"seed: expected a 64-bit integer, found one of {number.bit_length()} bits")
    return number


class Asked(NamedTuple):
    """What a frame is asked for."""

    expression: Tensor  # [64]
    joint_eulers: Tensor  # [6, 3] radians
    camera: Tensor  # [2] (pitch, yaw), radians


def checked_controls(
    expression: Array | None, joint_eulers: Array | None, camera: Array, quality: str, device: torch.device
) -> Asked:
    """Arguments of a person's ``render`` on ``device``. Raises ValueError: see ``Person.render``."""
    if quality not in QUALITIES:
        raise ValueError(f"quality: expected one of {', '.join(QUALITIES)}, found {quality!r}")
    return Asked(
        checked_vector(expression, (64,), "expression", device),
        checked_vector(joint_eulers, (6, 3), "joint_eulers", device, within=(-MAX_EULER, MAX_EULER)),
        checked_vector(camera, (2,), "camera", device, within=CAMERA_RANGE),
    )


def checked_vector(
    value: Array | None,
    shape: tuple[int, ...],
    name: str,
    device: torch.device,
    within: tuple[Any, Any] | None = None,
) -> Tensor:
    """``value`` (zeros for None) as a finite float tensor of ``shape`` on ``device``; angles ``within`` two bounds."""
    if value is None:
        return torch.zeros(shape, device=device)
    tensor = torch.as_tensor(value, dtype=torch.float32)
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, found {list(tensor.shape)}")
    if not tensor.isfinite().all():  # checked where it is: asking a GPU would wait for it
        raise ValueError(f"{name}: expected finite numbers, found NaN or infinity")
    if within is not None:
        low, high = (torch.tensor(bound, device=tensor.device).expand(shape) for bound in within)
        if (beyond := (tensor < low) | (tensor > high)).any():
            values = f"{low[beyond][0]:.4g} to {high[beyond][0]:.4g} radians, found {tensor[beyond][0]:g}"
            raise ValueError(f"{name}: expected {values} (degrees?)")
    return tensor.to(device, non_blocking=True)
