"""Makes the keyframe files of this folder: `python -m keyframes.make` (or `--out FOLDER`).

Everything here is made up by hand or by formula, from the meaning of ARKit's facial actions and of SMPL's joints;
nothing is tracked from anybody. Values are rounded to four decimals, so the files come out the same on every machine.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path

import numpy as np

from inference.keyframes import save_expressions, save_keyframes
from networks.person.expressions import ARKIT, expression

# Rows of a pose: SMPL joints 12..17.
NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD, LEFT_SHOULDER, RIGHT_SHOULDER = range(6)
# Columns of a joint: R = Rz(e0) Ry(e1) Rx(e2). Tilt: to the person's right; turn: to the person's left; nod: down.
TILT, TURN, NOD = range(3)
NECK_SHARE = 0.4  # of a head movement; the head joint does the rest, as in a real neck

TALK_FPS, TALK_FRAMES = 12.5, 100


def pose(
    turn: float = 0.0, nod: float = 0.0, tilt: float = 0.0,
    lift: tuple[float, float] = (0.0, 0.0), forward: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:  # fmt: skip
    """[6,3]: a head movement shared by neck and head; shoulders (left, right) lifted or brought forward, radians."""
    out = np.zeros((6, 3))
    for column, amount in ((TILT, tilt), (TURN, turn), (NOD, nod)):
        out[NECK, column] = NECK_SHARE * amount
        out[HEAD, column] = (1 - NECK_SHARE) * amount
    # The left collar points to +x and rises with +Rz, the right one to -x and rises with -Rz; the shoulder joint turns
    # back by as much, so that the arm keeps hanging.
    out[LEFT_COLLAR, TILT], out[RIGHT_COLLAR, TILT] = lift[0], -lift[1]
    out[LEFT_SHOULDER, TILT], out[RIGHT_SHOULDER, TILT] = -lift[0], lift[1]
    out[LEFT_COLLAR, TURN], out[RIGHT_COLLAR, TURN] = -forward[0], forward[1]
    return out


# Smiles raise the cheeks, and the eyes narrow a little.
SMILE = {"mouthSmile": 0.85, "cheekSquint": 0.4, "eyeSquint": 0.2}


def expressions() -> np.ndarray:
    """[12,64]: one expression per keyframe."""
    return np.stack([
        expression(),
        expression(**SMILE),
        expression(jawOpen=0.55),
        expression(mouthPucker=0.9, mouthFunnel=0.15),
        expression(browInnerUp=0.9, browOuterUp=0.8, eyeWide=0.4, jawOpen=0.12),
        expression(eyeBlinkLeft=1.0, cheekSquintLeft=0.5, mouthSmileLeft=0.4, mouthSmileRight=0.15),
        expression(eyeBlinkRight=1.0, cheekSquintRight=0.5, mouthSmileRight=0.4, mouthSmileLeft=0.15),
        expression(eyeBlink=1.0),
        expression(browDown=0.9, noseSneer=0.4, mouthFrown=0.5, eyeSquint=0.2),
        expression(jawLeft=1.0, jawOpen=0.08),
        expression(cheekPuff=0.9, mouthPucker=0.3),
        expression(**SMILE, jawOpen=0.28, mouthUpperUp=0.3, browInnerUp=0.2, browOuterUp=0.2),
    ])  # fmt: skip


def head_poses() -> np.ndarray:
    """[12,6,3]: turns, nods and tilts of the head."""
    return np.stack([
        pose(), pose(turn=0.35), pose(turn=-0.35), pose(),
        pose(nod=0.25), pose(nod=-0.2), pose(),
        pose(tilt=0.25), pose(tilt=-0.25), pose(),
        pose(turn=0.25, nod=0.15), pose(turn=-0.25, nod=-0.12),
    ])  # fmt: skip


def shoulder_poses() -> np.ndarray:
    """[12,6,3]: shrugs, single shoulders, a roll and a twist."""
    return np.stack([
        pose(), pose(lift=(0.45, 0.45)), pose(), pose(lift=(-0.2, -0.2)),
        pose(lift=(0.4, 0.0)), pose(lift=(0.0, 0.4)), pose(),
        pose(lift=(0.15, 0.15), forward=(0.3, 0.3)), pose(lift=(0.4, 0.4)),
        pose(lift=(0.15, 0.15), forward=(-0.25, -0.25)),
        pose(forward=(0.3, -0.3)), pose(forward=(-0.3, 0.3)),
    ])  # fmt: skip


def poses() -> np.ndarray:
    """[12,6,3]: head and shoulders together, to go with `expressions` (the default video)."""
    return np.stack([
        pose(), pose(turn=0.3), pose(nod=-0.12), pose(turn=-0.3),
        pose(lift=(0.45, 0.45), nod=-0.05), pose(tilt=0.18), pose(tilt=-0.18), pose(nod=0.18),
        pose(nod=0.1, turn=-0.15), pose(lift=(0.4, 0.0), turn=0.1), pose(lift=(0.0, 0.4), turn=-0.1),
        pose(turn=0.2, tilt=0.08),
    ])  # fmt: skip


def orbit() -> np.ndarray:
    """[12,2]: the camera goes once round an ellipse about the frontal direction; pitch first."""
    angle = 2 * np.pi * np.arange(12) / 12
    return np.stack([np.pi / 2 - 0.12 * np.cos(angle), np.pi / 2 + 0.35 * np.sin(angle)], axis=1)


# Syllables of the talk-like sequence: time in seconds, how far the jaw opens, and the shape of the lips.
SYLLABLES = (
    (0.40, 0.7, "wide"), (0.62, 0.5, "open"), (0.84, 0.9, "open"), (1.10, 0.4, "round"), (1.34, 0.8, "open"),
    (1.58, 0.5, "wide"), (1.82, 0.6, "round"),
    (2.60, 0.8, "open"), (2.82, 0.4, "wide"), (3.02, 0.6, "open"), (3.26, 0.5, "round"), (3.50, 1.0, "open"),
    (3.76, 0.5, "wide"), (3.98, 0.7, "open"), (4.22, 0.4, "round"), (4.46, 0.6, "wide"),
    (5.30, 0.5, "round"), (5.54, 0.8, "open"), (5.78, 0.6, "wide"), (6.00, 0.9, "open"), (6.26, 0.5, "round"),
    (6.50, 0.7, "open"), (6.76, 0.5, "wide"),
)  # fmt: skip
JAW = 0.42  # jawOpen of the widest syllable
LIPS = {
    "open": {"mouthLowerDown": 0.2},
    "wide": {"mouthStretch": 0.35, "mouthSmile": 0.15, "mouthLowerDown": 0.25},
    "round": {"mouthFunnel": 0.55, "mouthPucker": 0.35},
}  # fmt: skip
BLINKS = (0.96, 3.36, 5.12, 7.28)  # seconds at which the lids begin to fall
LID_COURSE = (0.5, 1.0, 1.0, 0.45)  # closing takes two frames, opening two
STRESSES = (0.84, 3.50, 6.00)  # the brows rise and the head nods with these syllables


def talk() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[100,64], [100,6,3], [100,2] at 12.5 frames a second: three phrases, a smile, and back to rest."""
    time = np.arange(TALK_FRAMES) / TALK_FPS
    phase = 2 * math.pi * np.arange(TALK_FRAMES) / TALK_FRAMES  # everything slow is periodic: the loop closes
    faces = np.zeros((TALK_FRAMES, 64))
    for at, amount, lips in SYLLABLES:
        faces += np.outer(bump(time, at, 0.17), expression(jawOpen=JAW * amount, **LIPS[lips]))
    for at in STRESSES:
        faces += np.outer(bump(time, at, 0.5), expression(browInnerUp=0.5, browOuterUp=0.4))
    faces += np.outer(bump(time, 7.2, 0.7), expression(**SMILE))
    for at in BLINKS:
        first = round(at * TALK_FPS)
        for i, amount in enumerate(LID_COURSE):
            faces[first + i] += expression(eyeBlink=amount)
    nod = 0.03 * np.sin(2 * phase) + 0.08 * sum(bump(time, at + 0.1, 0.35) for at in STRESSES)
    turn = 0.10 * np.sin(phase) + 0.04 * np.sin(3 * phase)
    tilt = 0.05 * np.sin(2 * phase + 1.0) - 0.05 * math.sin(1.0)
    sway = 0.02 * np.sin(2 * phase)
    heads = np.stack([
        pose(turn=turn[i], nod=nod[i], tilt=tilt[i], lift=(sway[i], -sway[i])) for i in range(TALK_FRAMES)
    ])  # fmt: skip
    camera = np.stack([np.full(TALK_FRAMES, math.pi / 2), math.pi / 2 + 0.06 * np.sin(phase)], axis=1)
    return faces.clip(0, 1), heads, camera


def bump(time: np.ndarray, centre: float, half_width: float) -> np.ndarray:
    """A raised cosine: 1 at `centre`, 0 from `half_width` away."""
    distance = np.clip(np.abs(time - centre) / half_width, 0, 1)
    return 0.5 * (1 + np.cos(np.pi * distance))


def make() -> dict[str, np.ndarray]:
    """Every file of this folder: relative path -> float32 array."""
    faces, heads, camera = talk()
    arrays = {
        "expression.npz": expressions(),
        "pose.npy": poses(),
        "headpose.npy": head_poses(),
        "shoulderpose.npy": shoulder_poses(),
        "orbit.npy": orbit(),
        "talk/expression.npz": faces,
        "talk/joint_eulers.npy": heads,
        "talk/camera_pose.npy": camera,
    }
    # Adding zero turns -0 into 0, so equal values are equal bytes.
    return {name: (np.round(array, 4) + 0.0).astype(np.float32) for name, array in arrays.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the keyframe files that ship with the project.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write to (default: this one)"
    )
    out = parser.parse_args().out
    for name, array in make().items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".npz"):
            save_expressions(out / name, array, ARKIT)
        else:
            save_keyframes(out / name, array)
        print(f"{name} {list(array.shape)} sha256 {hashlib.sha256((out / name).read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
