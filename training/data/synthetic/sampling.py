"""Plausible labels for synthetic people: expressions, head and shoulder poses with cameras, identities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from networks.cameras import FRONTAL
from training.data.synthetic.appearance import HAIR_LENGTH

# Expression coefficients with a meaning in the embedded face model.
JAW, SMILE, PUCKER, SNEER, BROWS_UP, STRETCH, FROWN, JAW_SIDE, LEFT_LID, RIGHT_LID, PUFF = range(11)
NUM_NAMED = 11  # of them, the first ones
BLINK = 32
# Identity coefficients that set the body's shape.
_BODY_FROM = slice(30, 40)
_BETA_SPREAD = 0.606  # standard deviation of the first beta
# Rows of joint_eulers (SMPL joints 12..17).
NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD, LEFT_SHOULDER, RIGHT_SHOULDER = range(6)


class PoseCamera(NamedTuple):
    joint_eulers: np.ndarray  # [6, 3] float32 radians
    camera: np.ndarray  # [2] float32 (pitch, yaw) radians


class Identity(NamedTuple):
    z_id: np.ndarray  # [80] float32
    betas: np.ndarray  # [10] float32
    eps: np.ndarray  # [80] float32


def sample_identity(rng: np.random.Generator) -> Identity:
    """Identity, body shape and appearance noise of a person.

    Body shape follows from the identity: the leading coefficients and some of those that hardly show in the face set
    it, so that a heavier body comes with a fuller face, and a generator whose radiance knows z_id alone can know it.
    """
    z_id = np.clip(rng.standard_normal(80), -2.2, 2.2) * 0.9
    betas = 0.7 * z_id[_BODY_FROM]
    betas[:3] = 0.85 * betas[:3] + 0.35 * z_id[:3]
    eps = rng.standard_normal(80)
    # Tall people more often have short hair; every entry of eps alone stays N(0, 1).
    eps[HAIR_LENGTH] = np.sqrt(1.0 - 0.45**2) * eps[HAIR_LENGTH] - 0.45 * betas[0] / _BETA_SPREAD
    return Identity(z_id.astype(np.float32), betas.astype(np.float32), eps.astype(np.float32))


def sample_expression(rng: np.random.Generator) -> np.ndarray:
    """Expression [64] float32: mostly calm or smiling faces, sometimes talking, blinking, frowning, surprised.

    The minor coefficients spread as widely as tracked videos do, which carry constant offsets there.
    """
    chance = rng.random(10)
    amount = rng.random(10)
    z = np.zeros(64)
    z[:NUM_NAMED] = rng.standard_normal(NUM_NAMED) * 0.15
    z[NUM_NAMED:] = rng.standard_normal(64 - NUM_NAMED) * 0.5
    if chance[0] < 0.5:
        z[SMILE] += 0.25 + 0.95 * amount[0]
    if chance[1] < 0.45:
        z[JAW] -= 1.05 * amount[1] ** 1.3
    if chance[2] < 0.15:
        z[PUCKER] -= 0.9 * amount[2]
    if chance[3] < 0.3:
        z[BROWS_UP] += 1.4 * amount[3] - 0.3
    if chance[4] < 0.2:
        z[FROWN] += 0.9 * amount[4]
    if chance[5] < 0.3:
        z[STRETCH] -= 1.0 * amount[5]
    if chance[6] < 0.2:
        z[SNEER] -= 0.8 * amount[6]
    z[BLINK] = 0.12 * (rng.random() - 0.5) - 0.15 * max(z[SMILE], 0.0)  # smiling eyes narrow
    if chance[7] < 0.2:
        z[BLINK] -= 0.85 * amount[7] ** 0.7
    if chance[8] < 0.04:
        z[LEFT_LID if amount[8] < 0.5 else RIGHT_LID] -= amount[9]
    return z.astype(np.float32)


def sample_pose_camera(rng: np.random.Generator) -> PoseCamera:
    """Head and shoulder pose with the camera it was photographed from: people tend to face the camera.

    The neck carries a third of the head's turn.
    """
    camera_yaw = np.clip(rng.standard_normal() * 0.17, -0.35, 0.35)
    camera_pitch = np.clip(rng.standard_normal() * 0.07, -0.15, 0.15)
    # Yaw > pi/2 puts the camera at the person's right; turning the head there is a negative rotation about y.
    turn = np.clip(rng.standard_normal() * 0.24 - 0.4 * camera_yaw, -0.5, 0.5)
    nod = np.clip(rng.standard_normal() * 0.11, -0.28, 0.28)
    tilt = np.clip(rng.standard_normal() * 0.07, -0.2, 0.2)
    eulers = np.zeros((6, 3))
    eulers[HEAD] = np.array([tilt, turn, nod]) * (2.0 / 3.0)
    eulers[NECK] = np.array([tilt, turn, nod]) / 3.0
    shrug = max(0.0, rng.standard_normal() * 0.10)  # both sides together
    sway = rng.standard_normal() * 0.03  # one up, one down
    eulers[LEFT_COLLAR, 0] = np.clip(shrug + sway, -0.1, 0.3)
    eulers[RIGHT_COLLAR, 0] = -np.clip(shrug - sway, -0.1, 0.3)
    eulers[LEFT_COLLAR:HEAD, 1] = rng.standard_normal(2) * 0.04
    eulers[LEFT_SHOULDER:, :] = rng.standard_normal((2, 3)) * 0.06
    camera = np.array([FRONTAL + camera_pitch, FRONTAL + camera_yaw])
    return PoseCamera(eulers.astype(np.float32), camera.astype(np.float32))
