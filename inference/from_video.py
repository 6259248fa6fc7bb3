"""Keyframes from a video of anybody: expression, head, shoulders and camera, by a tracker that needs no registration.

The open body and face are fitted to what small detectors see (networks/person/tracker, networks/person/fitting).
Moments without a face are interpolated and listed. Beside the keyframes comes a video to check them by: the input with
the fitted mesh drawn over it, and a portrait that the keyframes drive.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from inference.check_video import write_check_video
from inference.keyframes import save_expressions, save_keyframes, video_command
from inference.plots import Panel, draw_plot
from inference.tracks import runs
from networks.person.controls import HEAD, LEFT_COLLAR, NECK, RIGHT_COLLAR
from networks.person.expressions import ARKIT
from networks.person.fitting.measured import landmarks
from networks.person.fitting.video import Performance, fit_video
from networks.person.open_body.actions import ACTIONS
from networks.person.tracker.follow import Track, track
from torch_utils.bounds import MAX_FRAMES, real_number, whole_number
from torch_utils.misc import UserError
from torch_utils.video_reader import Frame, VideoReader

MAX_PEOPLE = 100
SHOWN_ACTIONS = 8  # those that move most
FILES = {"--exp_path": "expression.npz", "--pose_path": "pose.npy", "--cam_path": "camera.npy"}
_SHOULDERS = [11, 12]  # of BlazePose
_LEAST_SEEN = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``from-video``."""
    add = parser.add_argument
    add("video", metavar="VIDEO", help="of one person or several, in any format that ffmpeg reads")
    add("--out", required=True, metavar="DIR", help="folder for expression.npz, pose.npy, camera.npy and check.mp4")
    person_help = "whom to follow, counted from 0 from the left of the picture (default: the largest face)"
    add("--person", type=whole_number(0, MAX_PEOPLE), metavar="N", help=person_help)
    add("--fps", type=real_number(1, 60), default=25.0, help="keyframes a second (%(default)g)")
    add("--plot", action="store_true", help="also plot.png, the keyframes over time")
    add("--no_check", action="store_true", help="no check.mp4, which takes most of the time")
    add("--ckpt", default="ckpts/demo.safetensors", metavar="FILE", help="whose portrait check.mp4 shows (%(default)s)")


def run(args: argparse.Namespace) -> None:
    """Tracks, fits, writes and says what was missing.

    Raises:
        UserError: no such video, no face in it, the detectors are not to be had, or the place cannot be written to.
    """
    reader, marks = VideoReader(args.video), landmarks()
    frames = tqdm(at_rate(reader, args.fps, args.video), "tracking", unit="frame", file=sys.stderr, leave=False)
    try:
        seen = track(frames, args.person)
    except UserError as error:
        raise UserError(f"{args.video}: {error}") from None
    found = fit_video(seen, marks)
    out = Path(args.out)
    paths = {option: out / name for option, name in FILES.items()}
    save_expressions(paths["--exp_path"], found.expression.astype(np.float32), ARKIT)
    save_keyframes(paths["--pose_path"], found.joint_eulers)
    save_keyframes(paths["--cam_path"], found.camera)
    if args.plot:
        draw_plot(out / "plot.png", _panels(seen, found))
    if not args.no_check:
        write_check_video(out / "check", at_rate(reader, args.fps, args.video), found, args.fps, args.ckpt)
    for line in report(seen, found, args.fps):
        print(line)
    if reader.damage:
        print(f"the video is damaged: {reader.damage}")
    print(video_command(paths, args.fps))


def at_rate(frames: Iterable[Frame], fps: float, where: str) -> Iterator[Frame]:
    """What a video shows at times 0, 1 / fps, 2 / fps ...: the frame that is on the screen then.

    Raises:
        UserError: naming ``where``, if there are more than a video may have.
    """
    count, last = 0, None
    for frame in frames:
        while last is not None and count / fps < frame.seconds - 1e-6:
            yield Frame(count / fps, last.image)
            count += 1
            if count > MAX_FRAMES:
                raise UserError(f"{where}: expected at most {MAX_FRAMES} frames, found more than {frame.seconds:.0f} s")
        last = frame
    if last is not None:
        yield Frame(count / fps, last.image)


def report(seen: Track, found: Performance, fps: float) -> list[str]:
    """What a user should know."""
    known = seen.found
    error = float(np.nanmedian(found.error))
    lines = [
        f"{len(known)} frames, {len(known) / fps:.1f} s at {fps:g} a second; landmarks within {error:.1f} mm (median)"
    ]
    if not known.all():
        gaps = ", ".join(f"{a / fps:.2f} to {(b + 1) / fps:.2f} s" for a, b in runs(~known))
        lines.append(f"no face in {(~known).sum()} frames, interpolated: {gaps}")
    shoulders = (seen.pose_visibility[:, _SHOULDERS] > _LEAST_SEEN).all(1)
    if shoulders.mean() < 0.5:
        lines.append("shoulders are hardly ever seen: they stay at rest, and the chest nearly faces the camera")
    roll = math.degrees(float(np.abs(found.frames[:, 2]).max()))
    if roll > 5:
        lines.append(f"the body leans by up to {roll:.0f} degrees; keyframes have no such angle, it stays upright")
    return lines


def _panels(seen: Track, found: Performance) -> list[Panel]:
    """Expression, head, shoulders and camera over seconds; what was not seen is shaded."""
    gaps = runs(~seen.found)
    spread = found.expression[:, : len(ACTIONS)].std(0)
    moving = np.sort(np.argsort(-spread, kind="stable")[:SHOWN_ACTIONS])
    eulers = np.degrees(found.joint_eulers)
    shrugs = np.stack([eulers[:, LEFT_COLLAR, 0], -eulers[:, RIGHT_COLLAR, 0]], 1)
    values = (
        ("facial actions: those that move most", found.expression[:, moving], [ACTIONS[i] for i in moving]),
        ("neck and head, degrees", eulers[:, [NECK, HEAD]].sum(1), ["tilt", "turn", "nod"]),
        ("shoulders raised, degrees", shrugs, ["left", "right"]),
        ("camera, degrees from the front", np.degrees(found.camera) - 90, ["pitch", "yaw"]),
    )
    return [Panel(title, seen.seconds, rows, names, gaps) for title, rows, names in values]
