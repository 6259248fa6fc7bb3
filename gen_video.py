"""Keyframes of expression, pose and camera in, videos of generated people out: `python gen_video.py --help`."""

from __future__ import annotations

import argparse
import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.arguments import QUALITIES
from inference.keyframes import ALL_ROUND, Kind, load_file, make_motion
from inference.pipeline import DEMO, PortraitPipeline
from inference.render import RAND_KEYFRAMES, Job, draw_keyframes, render_videos
from inference.seeds import parse_seeds
from inference.video import EXTENSIONS, check_writer, grid_shape
from networks.person.expressions import carried, has_actions
from torch_utils.bounds import MAX_FRAMES, real_number, whole_number
from torch_utils.misc import CliParser, UserError, reason, resolve_device, run_cli

ROOT = Path(__file__).resolve().parent
MAX_INTERVAL = 10_000
SEEDS = "13,19"

EPILOG = """\
paths: --exp_path, --pose_path and --cam_path take a .npy or .npz file, `rand` (keyframes drawn from the checkpoint's
  priors, the same for the same first seed) or `none` (neutral expression, neutral pose, swinging camera); --exp_path
  also a .csv of ARKit's facial actions, as Live Link Face writes it, a row a keyframe; --pose_path also a body's
  motion (AMASS, AIST++, THuman4.0: docs/avatars.md), a frame a keyframe. Without any of the three,
  keyframes/expression.npz and keyframes/pose.npy are played; with at least one, the others are `none`.
lengths: every sequence is a closed loop of N keyframes * n_interval frames. Files given together have the same number
  of keyframes (a file with one keyframe holds still), and that decides the length. --video_length makes the length
  free, and every loop then goes on by itself; so does --seeds_interval, whose length is seeds * N. With `rand` alone
  there are 8 keyframes, or as many as the length needs. Where only the camera's swing moves, the video lasts one
  --cam_cycle.
files: video_{seed}_rgb.mp4, video_{seed}_rgb_000.png and the like (also _depth, _rgb_lr); --grid writes
  video_grid_{seeds}_rgb.mp4, --seeds_interval video_loop_{seeds}_rgb.mp4. A video appears under its name only when it
  is complete, and replaces an earlier one of that name.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted (people finished before stay).
"""


def make_parser() -> CliParser:
    parser = CliParser(
        prog="gen_video.py",
        description="Render videos of generated people driven by keyframes.",
        epilog=EPILOG,
    )
    who = parser.add_argument_group("who")
    who.add_argument("--ckpt", default=str(DEMO), help="checkpoint (default: ckpts/demo.safetensors)")
    who.add_argument("--config", help="name in configs/ or .yaml file; only for checkpoints in the released layout")
    seeds_help = f"people, e.g. 3 or 0-3,7 (default: {SEEDS}; of a file of one person: 0)"
    who.add_argument("--seeds", nargs="+", help=seeds_help)
    blend_help = "one video that blends from each seed to the next in N frames, and at last to the first again; slow, "
    blend_help += "since every frame is a new person (default: 0, off)"
    who.add_argument("--seeds_interval", type=whole_number(0, MAX_INTERVAL), default=0, metavar="N", help=blend_help)
    who.add_argument(
        "--psi", type=real_number(0, 2), default=0.7, help="truncation, 0 (the mean person) to 1 (default: 0.7)"
    )
    drive = parser.add_argument_group("what they do")
    drive.add_argument("--exp_path", help="expression keyframes [N,64], or a .csv of ARKit's actions")
    drive.add_argument(
        "--pose_path", help="pose keyframes [N,6,3]: Euler angles of SMPL joints 12..17 in radians, or a body's motion"
    )
    drive.add_argument("--cam_path", help="camera keyframes [N,2]: pitch and yaw in radians, pitch first")
    drive.add_argument(
        "--n_interval",
        type=whole_number(1, MAX_INTERVAL),
        default=8,
        help="frames from one keyframe to the next (default: 8)",
    )
    drive.add_argument(
        "--cam_yaw_range",
        type=yaw_range,
        default=0.2,
        help="swing to either side, radians (default: 0.2); 360: once round, by models that are seen from all sides",
    )
    drive.add_argument(
        "--cam_cycle", type=whole_number(1, MAX_FRAMES), default=96, help="frames per swing of the camera (default: 96)"
    )
    drive.add_argument(
        "--video_length", type=whole_number(1, MAX_FRAMES), help="frames in all (default: what the keyframes say)"
    )
    out = parser.add_argument_group("output")
    out.add_argument("--output_dir", default="out", help="folder, made if missing (default: out)")
    out.add_argument("--fps", type=float, default=20.0, help="frames per second (default: 20)")
    out.add_argument("--ext", default="mp4", help=f"{', '.join(EXTENSIONS)} (default: mp4)")
    out.add_argument("--grid", nargs="?", const="auto", metavar="RxC", help="everybody in one video, e.g. --grid 2x3")
    out.add_argument("--depth", action="store_true", help="also write depth (near is bright)")
    out.add_argument("--lr", action="store_true", help="also write the image before super-resolution")
    quality_help = "exact: the method; fast: what is smooth is interpolated; layers: a portable avatar (default: fast)"
    out.add_argument("--quality", choices=QUALITIES, default="fast", help=quality_help)
    out.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser


def yaw_range(text: str) -> float:
    """Radians of a swing, or 360."""
    return ALL_ROUND if text == f"{ALL_ROUND:g}" else real_number(0, round(math.pi, 5))(text)


def parse_grid(text: str | None, n_people: int) -> tuple[int, int] | None:
    """Rows and columns of `auto` or `RxC` for so many people."""
    if text is None:
        return None
    if text == "auto":
        return grid_shape(n_people)
    match = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text, flags=re.ASCII)
    rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
    if rows * columns < max(n_people, 1):
        raise UserError(f"--grid: expected RxC with at least {n_people} cells (one for each seed), found '{text}'")
    return rows, columns


def check_args(args: argparse.Namespace, n_people: int) -> None:
    """Raises a UserError for options that do not go together."""
    if args.seeds_interval and n_people < 2:
        raise UserError(f"--seeds_interval: expected at least two --seeds to blend between, found {n_people}")
    if args.seeds_interval and args.grid:
        raise UserError("--seeds_interval: expected without --grid (one blended person a frame), found both")
    check_writer(args.ext, args.fps)


def check_output_dir(path: Path) -> None:
    """Makes the folder; a UserError where that fails or nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"--output_dir {path}: expected a folder to write to, found: {reason(error)}") from error


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    seeds = parse_seeds(args.seeds or [SEEDS])
    grid = parse_grid(args.grid, len(seeds))
    check_args(args, len(seeds))
    paths: dict[Kind, str | None] = {"expression": args.exp_path, "pose": args.pose_path, "camera": args.cam_path}
    if by_default := not any(paths.values()):
        paths |= {"expression": str(ROOT / "keyframes/expression.npz"), "pose": str(ROOT / "keyframes/pose.npy")}
    files = {kind: load_file(path, kind) for kind, path in paths.items() if path not in (None, "none", "rand")}
    keyframes = {kind: file.rows for kind, file in files.items()}
    length = args.video_length or args.seeds_interval * len(seeds) or None

    def motion(given: dict[Kind, np.ndarray]):
        return make_motion(
            given.get("expression"),
            given.get("pose"),
            given.get("camera"),
            n_interval=args.n_interval,
            video_length=length,
            cam_yaw_range=args.cam_yaw_range,
            cam_cycle=args.cam_cycle,
            names=tuple(str(path) for path in paths.values()),
        )

    motion(keyframes)  # files that do not go together are refused before anything slow happens
    device = resolve_device(args.device)
    check_output_dir(Path(args.output_dir))
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, config=args.config, device=device)
    if args.cam_yaw_range == ALL_ROUND and not pipe.controls.all_round:
        raise UserError(f"--cam_yaw_range: expected 0 to pi, for {args.ckpt} has no back of the head, found 360")
    seeds = pipe.people(seeds, by_default=args.seeds is None)
    if not pipe.controls.expression:
        if not by_default and paths["expression"] not in (None, "none"):
            raise UserError(
                f"--exp_path: expected none, for {args.ckpt} has no expressions, found {paths['expression']}"
            )
        paths["expression"] = None
        keyframes.pop("expression", None)
    elif by_default and not has_actions(pipe.face_model):  # whose coefficients have no names
        paths["expression"] = "none" if pipe.priors is None else "rand"
        del keyframes["expression"]
    if "expression" in keyframes:
        rows, spoken = files["expression"]
        keyframes["expression"] = carried(rows, spoken, pipe.face_model, str(paths["expression"]))

    n_rand = max((len(keys) for keys in keyframes.values()), default=1)
    if n_rand == 1:
        n_rand = math.ceil(length / args.n_interval) if length else RAND_KEYFRAMES
    drawn = draw_keyframes(pipe, {kind for kind, path in paths.items() if path == "rand"}, n_rand, seeds[0])
    job = Job(
        seeds=seeds,
        psi=args.psi,
        motion=motion(keyframes | drawn),
        output_dir=Path(args.output_dir),
        ext=args.ext,
        fps=args.fps,
        grid=grid,
        seeds_interval=args.seeds_interval,
        depth=args.depth,
        lr=args.lr,
        quality=args.quality,
    )
    for path in summary(render_videos(pipe, job), args.ext):
        print(path)


def summary(paths: list[Path], ext: str) -> list[str]:
    """What to print: each file, but a sequence of PNGs as its first and last."""
    if ext != "png":
        return [str(path) for path in paths]
    sequences: dict[str, list[Path]] = {}
    for path in paths:
        sequences.setdefault(path.stem.rsplit("_", 1)[0], []).append(path)
    return [f"{files[0]} ... {files[-1].name} ({len(files)} frames)" for files in sequences.values()]


if __name__ == "__main__":
    run_cli(main)
