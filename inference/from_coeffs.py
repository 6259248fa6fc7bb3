"""Keyframes from per-frame tracking of a video: Deep3DFaceRecon coefficients and SMPL fits.

Frames are put in order by the number at the end of their files' names; where a name has none, by name alone. A frame
without a (sound) file is a gap: expressions are interpolated linearly across it and rotations along the shortest arc
(slerp); before the first and after the last known frame the nearest one holds.

Smoothing is Gaussian in time. Rotations are averaged as rotations: the Gaussian mean of their matrices, projected back
onto SO(3), is the rotation nearest to all of them in the chordal sense; Euler angles are taken at the very end. The
camera is smoothed as the chest's rotation before it becomes (pitch, yaw).
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import roma
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from inference.plots import Panel, draw_plot
from networks.person.body_model import euler_to_matrix
from networks.person.tracking import chest_pose, portrait_view
from networks.person.tracking_files import SmplFits, load_face_fit
from torch_utils.misc import UserError, atomic_path, one_line

JOINT_NAMES = ("neck", "left collar", "right collar", "head", "left shoulder", "right shoulder")
SHOWN_EXPRESSIONS = 8  # those that move most
MAX_FRAMES = 1_000_000
Fit = TypeVar("Fit")


class Tracking(NamedTuple):
    """A video's frames; rows of frames that are not known are 0."""

    names: list[str]  # F of them; of a gap: its number
    expression: np.ndarray  # [F, 64]
    face_known: np.ndarray  # [F] bool
    joints: np.ndarray  # [F, 6, 3, 3] rotations relative to the canonical pose
    chest: np.ndarray  # [F, 3, 3]
    body_known: np.ndarray  # [F] bool
    problems: list[str]  # files that were there but not sound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``from-coeffs``."""
    parser.add_argument("--face", required=True, metavar="DIR", help="Deep3DFaceRecon's NAME.mat, one a frame")
    parser.add_argument("--smpl", required=True, metavar="FITS", help="SMPL fits: one .npz, .json, .pkl, or a folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the three .npy files and plot.png")
    parser.add_argument("--smooth", type=float, default=0.06, help="seconds, the Gaussian's sigma (%(default)s)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second of the video (%(default)s)")


def run(args: argparse.Namespace) -> None:
    """Reads, fills, smooths, writes and says what was missing.

    Raises:
        UserError: an option is out of range, there is no tracking, or the place cannot be written to.
    """
    for name, low, high in (("smooth", 0, 10), ("fps", 0.1, 240)):
        if not low <= getattr(args, name) <= high:
            raise UserError(f"--{name}: expected {low:g} to {high:g}, found {getattr(args, name):g}")
    tracking = read_tracking(args.face, args.smpl)
    sigma = args.smooth * args.fps
    expression = smooth(fill(tracking.expression, tracking.face_known), sigma)
    eulers = to_eulers(smooth_rotations(fill_rotations(tracking.joints, tracking.body_known), sigma))
    chest = smooth_rotations(fill_rotations(tracking.chest[:, None], tracking.body_known), sigma)[:, 0]
    view = portrait_view(torch.from_numpy(chest))
    camera = view.camera.numpy()
    out = Path(args.out)
    for name, array in (("expression", expression), ("pose", eulers), ("camera", camera)):
        _save(out / f"{name}.npy", array)
    draw_plot(out / "plot.png", _panels(tracking, expression, eulers, camera, args.fps))
    for line in _report(tracking, math.degrees(view.roll.abs().max().item())):
        print(line)
    print(
        f"python gen_video.py --exp_path {out}/expression.npy --pose_path {out}/pose.npy --cam_path {out}/camera.npy "
        f"--n_interval 1 --fps {args.fps:g}"
    )


def read_tracking(face: str | Path, smpl: str | Path) -> Tracking:
    """The tracking of all frames. Raises UserError: a place is missing, or no frame has a sound file."""
    folder, fits = Path(face), SmplFits(smpl)
    if not folder.is_dir():
        raise UserError(f"--face: {folder}: no such folder")
    faces = {path.stem: path for path in folder.glob("*.mat")}
    bodies = set(fits.names)
    if not faces.keys() & bodies:
        raise UserError(f"{folder}, {fits.path}: expected files of the same frames, found no name that both have")
    names = order_frames(sorted(faces.keys() | bodies))
    problems: list[str] = []
    face_fits = _read([n if n in faces else None for n in names.values()], lambda n: load_face_fit(faces[n]), problems)
    body_fits = _read([n if n in bodies else None for n in names.values()], fits.fit, problems)
    for what, place, found in (("face coefficients", folder, face_fits), ("SMPL fits", fits.path, body_fits)):
        if all(fit is None for fit in found):
            raise UserError(f"{place}: expected {what} of some frames, found none" + "; ".join(["", *problems[:1]]))
    expression = np.stack([np.zeros(64) if fit is None else fit.z_exp for fit in face_fits])
    rest = np.broadcast_to(np.eye(3), (24, 3, 3))
    pose = chest_pose(torch.from_numpy(np.stack([rest if fit is None else fit.rotations for fit in body_fits])))
    return Tracking(
        [str(number) if name is None else name for number, name in names.items()],
        expression,
        np.array([fit is not None for fit in face_fits]),
        euler_to_matrix(pose.joint_eulers).numpy(),
        pose.chest.numpy(),
        np.array([fit is not None for fit in body_fits]),
        problems,
    )


def _read(names: list[str | None], load: Callable[[str], Fit], problems: list[str]) -> list[Fit | None]:
    """What ``load`` makes of the names; None where there is no name, or a problem that it is added to."""
    fits: list[Fit | None] = []
    for name in names:
        try:
            fits.append(None if name is None else load(name))
        except UserError as error:
            problems.append(one_line(str(error)))
            fits.append(None)
    return fits


def order_frames(names: list[str]) -> dict[int, str | None]:
    """Frames in time: number -> name, None in a gap.

    Numbers are those at the end of the names, in steps of their greatest common divisor (a video of which every fifth
    frame was tracked has no gaps). Where they are not all different, or a name has none, the order of names counts.

    Raises:
        UserError: the numbers span more frames than any video has.
    """
    found = [re.search(r"(\d+)$", name) for name in names]
    numbers = [int(match.group(1)) if match else -1 for match in found]
    if -1 in numbers or len(set(numbers)) < len(numbers):
        return dict(enumerate(names))
    step = max(math.gcd(*(number - min(numbers) for number in numbers)), 1)
    if (max(numbers) - min(numbers)) // step > MAX_FRAMES:
        raise UserError(f"expected numbered frames of one video, found {min(numbers)} to {max(numbers)}")
    by_number = dict(zip(numbers, names, strict=True))
    return {number: by_number.get(number) for number in range(min(numbers), max(numbers) + 1, step)}


def fill(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[F, C] with rows that are not ``known`` [F] interpolated linearly; the ends hold."""
    at = np.flatnonzero(known)
    return np.stack([np.interp(np.arange(len(values)), at, column[at]) for column in values.T], 1)


def fill_rotations(rotations: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[F, J, 3, 3] with rows that are not ``known`` [F] on the shortest arcs between the others; the ends hold."""
    at = np.flatnonzero(known)
    if len(at) == 1:
        return np.repeat(rotations[at], len(rotations), 0)
    times = np.clip(np.arange(len(rotations)), at[0], at[-1])
    filled = [Slerp(at, Rotation.from_matrix(joint[at]))(times).as_matrix() for joint in rotations.swapaxes(0, 1)]
    return np.stack(filled, 1)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """[F, ...] under a Gaussian of ``sigma`` frames along the first axis; the ends hold; 0 leaves all as it is."""
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest") if sigma > 0 else values


def smooth_rotations(rotations: np.ndarray, sigma: float) -> np.ndarray:
    """[F, J, 3, 3]: the chordal mean of the rotations under a Gaussian of ``sigma`` frames."""
    return roma.special_procrustes(torch.from_numpy(smooth(rotations, sigma))).numpy()


def to_eulers(rotations: np.ndarray) -> np.ndarray:
    """[F, J, 3, 3] -> [F, J, 3] with matrix = Rz(e0) Ry(e1) Rx(e2)."""
    eulers = roma.rotmat_to_euler("ZYX", torch.from_numpy(rotations).flatten(0, 1))
    return eulers.reshape(*rotations.shape[:2], 3).numpy()


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        np.save(temporary, array.astype(np.float32))


def _report(tracking: Tracking, lean: float) -> list[str]:
    """What a user should know."""
    names = tracking.names
    lines = [f"{len(names)} frames, {names[0]} to {names[-1]}"]
    for what, known in (("face", tracking.face_known), ("body", tracking.body_known)):
        if gaps := _runs(~known):
            spans = ", ".join(names[a] if a == b else f"{names[a]}..{names[b]}" for a, b in gaps)
            lines.append(f"{what}: {(~known).sum()} frames missing, interpolated: {spans}")
    lines += [f"not used: {problem}" for problem in tracking.problems]
    if lean > 5:
        lines.append(f"the body leans by up to {lean:.0f} degrees; keyframes have no such angle, it stays upright")
    return lines


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(stop) - 1) for start, stop in edges.reshape(-1, 2)]


def _panels(tracking: Tracking, expression, eulers, camera, fps: float) -> list[Panel]:
    """The three arrays over seconds; gaps are shaded."""
    seconds = np.arange(len(expression)) / fps
    spread = expression.std(0)
    moving = np.sort(np.argsort(-spread)[: max(1, min(SHOWN_EXPRESSIONS, (spread > 1e-3).sum()))])
    face_gaps, body_gaps = _runs(~tracking.face_known), _runs(~tracking.body_known)
    panels = [Panel("expression: what moves most", seconds, expression[:, moving], [str(i) for i in moving], face_gaps)]
    for joint, name in enumerate(JOINT_NAMES):
        panels.append(Panel(f"{name}, degrees", seconds, np.degrees(eulers[:, joint]), ["e0", "e1", "e2"], body_gaps))
    turned = np.degrees(camera) - 90
    panels.append(Panel("camera, degrees from the front", seconds, turned, ["pitch", "yaw"], body_gaps))
    return panels
