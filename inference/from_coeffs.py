"""Keyframes from per-frame tracking of a video: Deep3DFaceRecon coefficients, SMPL fits, or both.

A frame without a (sound) file is a gap: expressions are interpolated linearly across it and rotations along the
shortest arc (slerp); before the first and after the last known frame the nearest one holds. Gaps that are longer than
``--max_gap`` are refused.

Smoothing is Gaussian in time (inference/tracks.py). The camera is smoothed as the chest's rotation before it becomes
(pitch, yaw). The expressions are a Basel face model's, and the file says so.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from inference.keyframes import save_expressions, save_keyframes, video_command
from inference.plots import Panel, draw_plot
from inference.tracked_video import Tracking, read_tracking
from inference.tracks import fill, fill_rotations, runs, smooth, smooth_rotations, to_eulers
from networks.person.expressions import BASEL
from networks.person.face_model import load_bfm
from networks.person.tracking import portrait_view
from networks.person.tracking_files import add_fit_options, bfm_frame, open_fits
from torch_utils.assets import face_model_file
from torch_utils.bounds import MAX_FRAMES, whole_number
from torch_utils.misc import UserError

JOINT_NAMES = ("neck", "left collar", "right collar", "head", "left shoulder", "right shoulder")
FILES = {"expression": "expression.npz", "pose": "pose.npy", "camera": "camera.npy"}
SHOWN_EXPRESSIONS = 8  # those that move most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``from-coeffs``."""
    add = parser.add_argument
    add("--face", metavar="DIR", help="Deep3DFaceRecon's NAME.mat, one a frame; without --smpl it moves the head, too")
    add_fit_options(parser, required=False)
    first_help = "number in the names of the frame that counting trackers call 0 (default: 0 if there is one, else 1)"
    add("--first_frame", type=whole_number(0, MAX_FRAMES), metavar="N", help=first_help)
    add("--out", required=True, metavar="DIR", help="folder for expression.npz, pose.npy, camera.npy and plot.png")
    add("--smooth", type=float, default=0.06, help="seconds, the Gaussian's sigma (%(default)s)")
    add("--fps", type=float, default=25.0, help="frames a second of the video (%(default)s)")
    add("--max_gap", type=float, default=1.0, help="seconds without tracking that are interpolated (%(default)s)")
    add("--face_model", metavar="FILE", help="Basel face model that --face refers to (default: smpl_models/)")


def run(args: argparse.Namespace) -> None:
    """Reads, fills, smooths, writes and says what was missing.

    Raises:
        UserError: an option is out of range, there is no tracking, too much is missing, or the place cannot be written
            to.
    """
    for name, low, high in (("smooth", 0, 10), ("fps", 0.1, 240), ("max_gap", 0, 3600)):
        if not low <= getattr(args, name) <= high:
            raise UserError(f"--{name}: expected {low:g} to {high:g}, found {getattr(args, name):g}")
    if args.face is None and args.smpl is None:
        raise UserError("expected --face, --smpl or both, found neither")
    tracking = _tracking(args)
    _check_gaps(tracking, args)
    sigma, out = args.smooth * args.fps, Path(args.out)
    eulers = to_eulers(smooth_rotations(fill_rotations(tracking.joints, tracking.body_known), sigma))
    chest = smooth_rotations(fill_rotations(tracking.chest[:, None], tracking.body_known), sigma)[:, 0]
    view = portrait_view(torch.from_numpy(chest))
    keyframes = {"pose": eulers, "camera": view.camera.numpy()}
    if args.face is not None:
        expression = smooth(fill(tracking.expression, tracking.face_known), sigma)
        keyframes = {"expression": expression, **keyframes}
        save_expressions(out / FILES["expression"], expression.astype(np.float32), BASEL)
    for name in ("pose", "camera"):
        save_keyframes(out / FILES[name], keyframes[name])
    draw_plot(out / "plot.png", _panels(tracking, keyframes, args.fps))
    for line in _report(tracking, args, math.degrees(view.roll.abs().max().item())):
        print(line)
    options = {"expression": "--exp_path", "pose": "--pose_path", "camera": "--cam_path"}
    print(video_command({options[name]: out / FILES[name] for name in keyframes}, args.fps))


def _tracking(args: argparse.Namespace) -> Tracking:
    rotation = None
    if args.smpl is None and (model := face_model_file(args.face_model)) is not None:
        rotation = bfm_frame(model, load_bfm(model)).rotation
    fits = None if args.smpl is None else open_fits(args)
    return read_tracking(args.face, fits, first_frame=args.first_frame, rotation=rotation)


def _check_gaps(tracking: Tracking, args: argparse.Namespace) -> None:
    """UserError where more frames are missing in a row than may be made up."""
    for what, known in _parts(tracking, args):
        longest = max(runs(~known), key=lambda run: run[1] - run[0], default=(0, -1))
        count, (first, last) = longest[1] - longest[0] + 1, longest
        if count > args.max_gap * args.fps:
            names = f"{tracking.names[first]} to {tracking.names[last]}"
            enough = math.ceil(count / args.fps * 100) / 100
            raise UserError(
                f"{what}: {count} frames in a row are missing, {names}; expected {args.max_gap * args.fps:g} at most; "
                f"--max_gap {enough:g} interpolates them nonetheless"
            )


def _parts(tracking: Tracking, args: argparse.Namespace) -> list[tuple[str, np.ndarray]]:
    """What is tracked, and in which frames it is known."""
    parts = (("face", args.face, tracking.face_known), ("body", args.smpl, tracking.body_known))
    return [(what, known) for what, given, known in parts if given is not None]


def _report(tracking: Tracking, args: argparse.Namespace, lean: float) -> list[str]:
    """What a user should know."""
    names = tracking.names
    lines = [f"{len(names)} frames, {names[0]} to {names[-1]}"]
    for what, known in _parts(tracking, args):
        if gaps := runs(~known):
            spans = ", ".join(names[a] if a == b else f"{names[a]}..{names[b]}" for a, b in gaps)
            lines.append(f"{what}: {(~known).sum()} frames missing, interpolated: {spans}")
    lines += tracking.notes
    if args.smpl is None:
        lines.append("no --smpl: the chest faces the camera, neck and head share the face's rotation")
    if args.face is None:
        lines.append("no --face: no expressions")
    if lean > 5:
        lines.append(f"the body leans by up to {lean:.0f} degrees; keyframes have no such angle, it stays upright")
    return lines


def _panels(tracking: Tracking, keyframes: dict[str, np.ndarray], fps: float) -> list[Panel]:
    """The arrays over seconds; gaps are shaded."""
    seconds = np.arange(len(tracking.names)) / fps
    face_gaps, body_gaps = runs(~tracking.face_known), runs(~tracking.body_known)
    panels = []
    if (expression := keyframes.get("expression")) is not None:
        spread = expression.std(0)
        moving = np.sort(np.argsort(-spread)[: max(1, min(SHOWN_EXPRESSIONS, (spread > 1e-3).sum()))])
        title = "expression: what moves most"
        panels.append(Panel(title, seconds, expression[:, moving], [str(i) for i in moving], face_gaps))
    for joint, name in enumerate(JOINT_NAMES):
        angles = np.degrees(keyframes["pose"][:, joint])
        panels.append(Panel(f"{name}, degrees", seconds, angles, ["e0", "e1", "e2"], body_gaps))
    turned = np.degrees(keyframes["camera"]) - 90
    panels.append(Panel("camera, degrees from the front", seconds, turned, ["pitch", "yaw"], body_gaps))
    return panels
