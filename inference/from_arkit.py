"""Keyframes from a recording of a face by ARKit: facial actions and the head's pose, as Live Link Face writes them.

Times are those of the file; frames that were dropped, and moments without a face, are interpolated, expressions
linearly and rotations along the shortest arc (slerp). The head's turn is shared by neck and head.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from inference.arkit import HEAD_ANGLES, LIVE_LINK_RATE, Take, read_take
from inference.keyframes import MAX_BYTES, save_expressions, save_keyframes, video_command
from inference.plots import Panel, draw_plot
from inference.tracks import between, between_rotations, runs, smooth, smooth_rotations, to_eulers
from networks.person.controls import HEAD, NECK, NECK_SHARE
from networks.person.expressions import ARKIT
from networks.person.open_body.actions import ACTIONS
from torch_utils.bounds import MAX_FRAMES, real_number
from torch_utils.misc import UserError, check_file

AXES = ("yaw", "pitch", "roll")
SHOWN_ACTIONS = 8  # those that move most
LONG_GAP = 0.25  # seconds without a face that are reported


class Clip(NamedTuple):
    """A recording at the video's frames."""

    expression: np.ndarray  # [F, 64]
    head: np.ndarray | None  # [F, 3, 3]
    seen: np.ndarray  # [F] bool: a face was seen about then


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``from-arkit``."""
    parser.add_argument("take", metavar="TAKE.csv", help="CSV with a column for each of ARKit's 52 facial actions")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for expression.npz, pose.npy and plot.png")
    parser.add_argument("--fps", type=real_number(1, 240), default=30.0, help="frames a second of the video (30)")
    rate_help = f"rows a second, where the file has no times ({LIVE_LINK_RATE})"
    parser.add_argument("--rate", type=real_number(1, 1000), default=float(LIVE_LINK_RATE), help=rate_help)
    smooth_help = "seconds, a Gaussian's sigma (0.02: noise goes, blinks stay)"
    parser.add_argument("--smooth", type=real_number(0, 10), default=0.02, help=smooth_help)
    level_help = "the head's mean pose counts as straight ahead: phones rarely stand in front"
    parser.add_argument("--level", action="store_true", help=level_help)
    parser.add_argument("--degrees", action="store_true", help="head angles are degrees (default: radians)")
    invert_help = "angles whose sign is the other way round, as in a landscape or mirrored recording"
    parser.add_argument("--invert", nargs="+", choices=AXES, default=[], help=invert_help)


def run(args: argparse.Namespace) -> None:
    """Reads, resamples, smooths, writes and says what was missing.

    Raises:
        UserError: no such recording, angles that are no radians, or the place cannot be written to.
    """
    check_file(args.take, "recording", most=MAX_BYTES)
    take = read_take(args.take, str(args.take))
    clip = resample(take, args)
    sigma = args.smooth * args.fps
    expression = smooth(clip.expression, sigma)
    eulers = None if clip.head is None else head_pose(smooth_rotations(clip.head[:, None], sigma)[:, 0], args.level)
    out = Path(args.out)
    paths = {"--exp_path": out / "expression.npz"}
    save_expressions(paths["--exp_path"], expression.astype(np.float32), ARKIT)
    if eulers is not None:
        paths["--pose_path"] = out / "pose.npy"
        save_keyframes(paths["--pose_path"], eulers)
    draw_plot(out / "plot.png", _panels(clip, expression, eulers, args.fps))
    for line in _report(take, clip, args):
        print(line)
    print(video_command({**paths, "--cam_yaw_range": 0}, args.fps))


def resample(take: Take, args: argparse.Namespace) -> Clip:
    """The recording at ``args.fps``. Raises UserError: too long, or head angles beyond half a turn."""
    seconds = np.arange(len(take.known)) / args.rate if take.seconds is None else take.seconds
    count = math.floor(seconds[-1] * args.fps + 1e-6) + 1
    if count > MAX_FRAMES:
        raise UserError(f"{args.take}: expected at most {MAX_FRAMES} frames, found {seconds[-1]:.0f} seconds")
    # Of several rows at one time the first one counts.
    at, first = np.unique(seconds[take.known], return_index=True)
    known = np.flatnonzero(take.known)[first]
    times = np.arange(count) / args.fps
    head = None
    if take.head is not None:
        head = between_rotations(_rotations(take.head[known], args)[:, None], at, times)[:, 0]
    row = np.clip(np.searchsorted(seconds, times - 1e-6), 0, len(seconds) - 1)  # at this time, or the next one
    return Clip(between(take.expression[known], at, times), head, take.known[row])


def _rotations(head: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """HeadYaw, HeadPitch, HeadRoll [F, 3] -> [F, 3, 3] from the face's axes, see inference/arkit.py."""
    limit = 180.0 if args.degrees else math.pi
    if np.abs(head).max() > limit + 1e-6:
        row, column = np.argwhere(np.abs(head) > limit + 1e-6)[0]
        unit = "degrees" if args.degrees else "radians (--degrees if they are degrees)"
        found = f"{HEAD_ANGLES[column]} {head[row, column]:g}"
        raise UserError(f"{args.take}: expected head angles in {unit}, within half a turn, found {found}")
    signs = np.array([-1.0 if axis in args.invert else 1.0 for axis in AXES])
    yaw_pitch_roll = head * signs * [1, -1, 1]
    return Rotation.from_euler("YXZ", yaw_pitch_roll, degrees=args.degrees).as_matrix()


def head_pose(head: np.ndarray, level: bool) -> np.ndarray:
    """Joint angles [F, 6, 3] whose neck and head together turn as ``head`` [F, 3, 3] does.

    ``level``: counted from the mean of all.
    """
    rotations = Rotation.from_matrix(head)
    if level:
        rotations = rotations.mean().inv() * rotations
    eulers = np.zeros((len(head), 6, 3))
    for joint, share in ((NECK, NECK_SHARE), (HEAD, 1 - NECK_SHARE)):
        part = Rotation.from_rotvec(share * rotations.as_rotvec()).as_matrix()
        eulers[:, joint] = to_eulers(part[:, None])[:, 0]
    return eulers


def _report(take: Take, clip: Clip, args: argparse.Namespace) -> list[str]:
    """What a user should know."""
    times = "by its times" if take.seconds is not None else f"at {args.rate:g} rows a second, as it has no times"
    frames = len(clip.seen)
    lines = [f"{len(take.known)} rows, {frames / args.fps:.1f} s {times}: {frames} frames"]
    if not take.known.all():
        lines.append(f"no face in {(~take.known).sum()} rows, interpolated")
    for start, stop in runs(~clip.seen):
        if (stop - start + 1) / args.fps > LONG_GAP:
            lines.append(f"no face from {start / args.fps:.1f} to {(stop + 1) / args.fps:.1f} s")
    if take.head is None:
        lines.append(f"no columns {', '.join(HEAD_ANGLES)}: the head stays as it is")
    return lines


def _panels(clip: Clip, expression: np.ndarray, eulers: np.ndarray | None, fps: float) -> list[Panel]:
    """Expression and head over seconds; what was not seen is shaded."""
    seconds, gaps = np.arange(len(expression)) / fps, runs(~clip.seen)
    spread = expression[:, : len(ACTIONS)].std(0)
    moving = np.sort(np.argsort(-spread, kind="stable")[:SHOWN_ACTIONS])
    names = [ACTIONS[i] for i in moving]
    panels = [Panel("facial actions: those that move most", seconds, expression[:, moving], names, gaps)]
    if eulers is not None:
        turned = np.degrees(eulers[:, [NECK, HEAD]].sum(1))
        panels.append(Panel("neck and head, degrees", seconds, turned, ["tilt", "turn", "nod"], gaps))
    return panels
