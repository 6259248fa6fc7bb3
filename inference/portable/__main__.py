"""Command line: ``python -m inference.portable --help``, ``python -m inference.portable page --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from inference.keyframes import Kind
from inference.pipeline import DEMO, PortraitPipeline
from inference.portable.build import AvatarOptions
from inference.portable.clips import Clip, load_clip, shipped_clips
from inference.portable.export import FORMATS, Format, export_avatar
from inference.portable.gltf import METRES, TEXTURES, Avatar
from inference.portable.page import write_page
from torch_utils.bounds import real_number, whole_number
from torch_utils.misc import CliParser, UserError, atomic_path, file_sha256, resolve_device, run_cli

MAX_INTERVAL = 10_000
EXPORT_EPILOG = """\
file: glTF 2.0, one mesh with a skin (root, neck, head, collars, shoulders), blendshapes named as expressions are
  (ARKit's 52 actions), an unlit material, the portrait camera. Metres, y up, the face looks along +z. Blendshapes that
  move nothing are left out and listed. docs/portable.md says how engines draw it. A .vrm file is the same with VRM
  1.0's bones and expressions, and without motions and camera tracks.
motions: --exp_path, --pose_path and --cam_path take the files of gen_video.py and make one motion of them; without any,
  the motions that ship with the project come along, and with `--exp_path none` nothing does.
page: `python -m inference.portable page` writes a page that plays the file.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""
PAGE_EPILOG = """\
folder: all of it goes on a web host, or is opened from a disk: index.html. avatar.glb.js (avatar.safetensors.js of a
  linear avatar) is the avatar once more, for pages opened from a disk, which may not read other files; a web host does
  not need it. Other files there stay.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""


def make_parser() -> CliParser:
    parser = CliParser(
        prog="python -m inference.portable",
        description="Write a generated person as an avatar that other programs show and move.",
        epilog=EXPORT_EPILOG,
    )
    parser.add_argument("--ckpt", default=str(DEMO), help="checkpoint (default: ckpts/demo.safetensors)")
    parser.add_argument("--config", help="name in configs/ or .yaml file; only for checkpoints in the released layout")
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0, help="the person (default: 0)")
    parser.add_argument("--psi", type=real_number(0, 2), default=0.7, help="truncation, 0 to 1 (default: 0.7)")
    parser.add_argument("--exp_path", help="expression keyframes [N,64] or .csv, or none")
    parser.add_argument("--pose_path", help="pose keyframes [N,6,3], or none")
    parser.add_argument("--cam_path", help="camera keyframes [N,2], or none")
    parser.add_argument(
        "--n_interval",
        type=whole_number(1, MAX_INTERVAL),
        default=8,
        help="frames from one keyframe to the next (default: 8)",
    )
    parser.add_argument("--fps", type=real_number(0.1, 1000), default=20.0, help="frames per second (default: 20)")
    error_help = "millimetres that surfaces may seem to lie off; more of them, fewer triangles (default: 0.59)"
    parser.add_argument("--error", type=real_number(0.01, 50), help=error_help)
    texture_help = "png, or webp: smaller, but not every program reads it (default: png)"
    parser.add_argument("--texture", choices=TEXTURES, default="png", help=texture_help)
    parser.add_argument("--format", help=f"{', '.join(FORMATS)} (default: by the name of --out)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .glb or .vrm")
    return parser


def check_format(name: str | None, out: Path) -> Format:
    """The format that is asked for; a UserError unless it is known and ``out`` is named as it is."""
    found = out.suffix.lower().removeprefix(".") if name is None else name
    if found == "ply":
        raise UserError(f"--format ply: a mesh of one frame is written by python -m inference.mesh --out {out}")
    if found not in FORMATS:
        option = "--format" if name is not None else "--out"
        raise UserError(f"{option}: expected {' or '.join(FORMATS)}, found '{name if name is not None else out}'")
    if out.suffix.lower() != f".{found}":
        raise UserError(f"--out: expected a name that ends in .{found}, found '{out}'")
    return cast(Format, found)


def load_clips(args: argparse.Namespace, face_model: str | None, form: Format) -> list[Clip]:
    """The motions that the options name."""
    paths: dict[Kind, str | None] = {"expression": args.exp_path, "pose": args.pose_path, "camera": args.cam_path}
    if form == "vrm":
        if any(path not in (None, "none") for path in paths.values()):
            raise UserError("--format vrm: expected no keyframes, for VRM files carry no motions")
        return []
    if not any(paths.values()):
        return shipped_clips(face_model)
    files = {kind: path for kind, path in paths.items() if path not in (None, "none")}
    if not files:
        return []
    name = " and ".join(Path(path).stem for path in files.values())
    return [load_clip(name, files, face_model, n_interval=args.n_interval, fps=args.fps)]


def export(argv: Sequence[str]) -> None:
    """``python -m inference.portable --out person.glb``."""
    args = make_parser().parse_args(argv)
    form = check_format(args.format, args.out)
    device = resolve_device(args.device)
    pipe = PortraitPipeline.from_checkpoint(args.ckpt, config=args.config, device=device)
    clips = load_clips(args, pipe.face_model, form)
    with atomic_path(args.out) as temporary:  # a folder that cannot be written to is refused before the work
        person = pipe.person(seed=args.seed, psi=args.psi)
        source = {
            "seed": args.seed,
            "psi": args.psi,
            "checkpoint": Path(args.ckpt).name,
            "checkpoint_sha256": file_sha256(args.ckpt),
        }
        options = AvatarOptions() if args.error is None else AvatarOptions(error=args.error / 1000 / METRES)
        avatar = export_avatar(pipe, person, clips, source, options=options, texture=args.texture, form=form)
        temporary.write_bytes(avatar.glb)
    for line in report(args.out, avatar, clips):
        print(line)


def report(path: Path, avatar: Avatar, clips: Sequence[Clip]) -> list[str]:
    """What a user should know of a written file."""
    lines = [f"wrote {path}: {len(avatar.glb) / 2**20:.1f} MiB, {avatar.size}, {len(avatar.targets)} blendshapes"]
    if avatar.still:
        lines.append(f"left out, for they move nothing: {', '.join(avatar.still)}")
    if clips:
        lines.append("motions: " + ", ".join(f"{clip.name} ({clip.seconds[-1]:.1f} s)" for clip in clips))
    return [*lines, f"to play with it: python -m inference.portable page --glb {path} --out site"]


def make_page(argv: Sequence[str]) -> None:
    """``python -m inference.portable page``."""
    parser = CliParser(
        prog="python -m inference.portable page",
        description="Write a page that plays an avatar, as a folder of static files.",
        epilog=PAGE_EPILOG,
    )
    avatar = parser.add_mutually_exclusive_group(required=True)
    avatar.add_argument("--glb", type=Path, help="the avatar, a .glb file")
    avatar.add_argument("--linear", type=Path, help="the avatar, a linear one of python -m training.avatar.linear")
    parser.add_argument("--out", type=Path, required=True, help="folder, made if missing")
    args = parser.parse_args(argv)
    write_page(args.glb or args.linear, args.out, linear=args.linear is not None)
    print(f"wrote {args.out}: open {args.out / 'index.html'}, or put the folder on a web host")


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["page"]:
        make_page(words[1:])
    else:
        export(words)


if __name__ == "__main__":
    run_cli(main)
