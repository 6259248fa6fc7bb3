"""Videos of an avatar, whole bodies among them, from all sides: `python -m inference.avatar_video --help`."""

import math
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch
from torch import Tensor
from tqdm import tqdm

from inference.keyframes import load_keyframes, portrait_poses
from inference.video import EXTENSIONS, open_writer
from networks.cameras import PORTRAIT_CAMERA
from networks.gaussian.avatar import Pose, View
from networks.gaussian.body_motion import BodyMotion, is_body_motion, read_body_motion
from networks.gaussian.calibrations import Camera, read_cameras
from networks.gaussian.portraits import Avatar, read_avatar
from networks.gaussian.whole_body import HANDS, fists, orbit_camera, rest_joints, square_view, whole_body_pose
from torch_utils.bounds import real_number, whole_number
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from torch_utils.pixels import image_to_uint8

VIEWS = ("free", "front", "back", "moving", "camera")
ROUND = 216  # frames of a circle
BIRD, BIRD_BACK = 0.3, math.pi / 8  # radians from above
BODY_FOCAL, BODY_DISTANCE = 1100 / 1024, 2.5  # of a picture's side; metres
MARGIN = 0.15  # metres about a body
EPILOG = """\
poses: .npz of SMPL-X parameters (THuman4.0, AvatarReX, ActorsHQ), .npz of AMASS (SMPL-H, SMPL-X), .pkl of AIST++;
  avatars of head and shoulders take of them what turns these, and pose keyframes as gen_video.py does.
views: free goes once round in 216 frames; moving is the front, and follows; camera is one of --calibration.
exit code: 0 done, 2 bad input (one line says what), 130 interrupted.
"""


def make_parser() -> CliParser:
    parser = CliParser(prog="python -m inference.avatar_video", description="A video of an avatar.", epilog=EPILOG)
    add = parser.add_argument
    add("--ckpt", required=True, help="avatar: OUTDIR/latest of python -m training.avatar, or a linear one")
    add("--poses", help="motion file (default: at rest)")
    add("--view", choices=VIEWS, default="free", help="where it is seen from (default: %(default)s)")
    add("--bird", action="store_true", help="from above")
    add("--calibration", help="cameras of AvatarReX, THuman4.0 (.json) or ActorsHQ (.csv), for --view camera")
    add("--camera", help="name of one of them (default: the first)")
    add("--size", type=whole_number(16, 4096), default=512, help="pixels a side (default: %(default)s)")
    add("--frames", type=whole_number(0, 10**9), nargs=3, metavar=("FIRST", "END", "STEP"), help="of the motion")
    add("--hands", choices=("file", "flat", "fist"), help="default: the file's, fists where it has none")
    amass_help = "shoulders of AMASS as photos have them, wrists and head at rest (default: on)"
    add("--amass_correction", action=BooleanOptionalAction, default=True, help=amass_help)
    add("--fps", type=real_number(0.1, 1000), default=30.0, help="frames a second (default: %(default)g)")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    add("--out", type=Path, required=True, help=f"file to write: {', '.join(EXTENSIONS)}; .png is a file a frame")
    return parser


class Driven(NamedTuple):
    """What is shown."""

    poses: Sequence[Callable[[], Pose]]  # frame by frame, made when asked for
    focal: float  # of the view's picture, as a part of its side
    distance: float
    orientation: Tensor | None  # [3, 3] of the first frame


def drive_portrait(avatar: Avatar, args: Namespace) -> Driven:
    """A head-and-shoulder avatar by pose keyframes, or by what a body's motion says of head and shoulders."""
    rows = np.zeros((1, 6, 3))
    if args.poses is not None:
        whole = is_body_motion(args.poses)
        rows = portrait_poses(load_motion(args)) if whole else load_keyframes(args.poses, "pose")
    rows = chosen(rows, args)
    neutral = torch.zeros(avatar.expressions)
    focal = 0.5 / math.tan(math.radians(PORTRAIT_CAMERA.fov_degrees) / 2)
    poses = [partial(avatar.pose, neutral, torch.from_numpy(row).float()) for row in rows]
    return Driven(poses, focal, PORTRAIT_CAMERA.radius, None)


def drive_body(avatar: Avatar, args: Namespace) -> Driven:
    """A whole body, SMPL-X's, by a motion file."""
    if len(avatar.joints) != 55:
        raise UserError(f"{args.ckpt}: expected a body of 24 or 55 joints, found one of {len(avatar.joints)}")
    zeros = np.zeros((1, 55, 3), np.float32)
    motion = BodyMotion("thuman4", zeros, zeros[:, 0], np.zeros((1, avatar.expressions), np.float32), False)
    motion = motion if args.poses is None else load_motion(args)
    joints, translation, expression = (torch.from_numpy(chosen(part, args)) for part in motion[1:4])
    hands = args.hands or ("file" if motion.has_hands else "fist")
    if hands != "file":
        joints[:, HANDS] = fists() if hands == "fist" else 0.0
    rest = rest_joints(avatar.joints, avatar.parents)
    turns = roma.rotvec_to_rotmat(joints)

    poses = [
        partial(whole_body_pose, rest, avatar.parents, *parts)
        for parts in zip(turns, translation, expression, strict=True)
    ]
    return Driven(poses, BODY_FOCAL, BODY_DISTANCE, turns[0, 0])


def load_motion(args: Namespace) -> BodyMotion:
    return read_body_motion(args.poses, amass_correction=args.amass_correction)


def chosen(rows: np.ndarray, args: Namespace) -> np.ndarray:
    """Those of --frames. Raises UserError: there are none."""
    if args.frames is None:
        return rows
    first, end, step = args.frames
    if not first < min(end, len(rows)) or step < 1:
        raise UserError(f"--frames: expected some of the {len(rows)} frames, found {first} {end} {step}")
    return rows[first:end:step]


def view_of(args: Namespace, driven: Driven, centre: Tensor, frame: int) -> View:
    """Of a frame, but for given cameras."""
    yaw = {"free": 2 * math.pi * frame / ROUND, "back": math.pi}.get(args.view, 0.0)
    pitch = (BIRD_BACK if args.view == "back" else BIRD) if args.bird else 0.0
    camera = orbit_camera(centre, yaw, pitch, driven.distance, driven.orientation)
    return square_view(camera, driven.focal, args.size)


def given_view(args: Namespace) -> View | None:
    """The camera of --calibration that is asked for; None where another view is."""
    if args.view != "camera":
        return None
    if args.calibration is None:
        raise UserError("--view camera: expected --calibration, found none")
    cameras = {camera.name: camera for camera in read_cameras(Path(args.calibration))}
    camera: Camera | None = cameras.get(args.camera) if args.camera else next(iter(cameras.values()))
    if camera is None:
        raise UserError(f"--camera {args.camera}: expected one of {', '.join(list(cameras)[:8])}")
    parts = (torch.from_numpy(part).float() for part in (camera.world_to_camera, camera.intrinsics))
    extrinsic, intrinsics = parts
    return View(extrinsic, intrinsics, camera.size)


@torch.inference_mode()
def write_video(avatar: Avatar, driven: Driven, args: Namespace, device: torch.device) -> None:
    """Frame by frame."""
    given = given_view(args)
    with open_writer(args.out.with_suffix(""), args.out.suffix[1:], args.fps) as writer:
        centre: Tensor | None = None
        for i, make in enumerate(tqdm(driven.poses, "frames", mininterval=1.0)):
            pose = Pose(*(part.to(device) for part in make()))
            if centre is None or args.view == "moving":
                here = middle(avatar, pose)
                # A moving view follows from side to side alone.
                centre = here if centre is None else torch.stack([here[0], *centre[1:]])
            view = given or view_of(args, driven, centre, i)
            view = View(view.world_to_camera.to(device), view.intrinsics.to(device), view.size)
            picture = avatar.driven(pose, view.origin).draw(view, 1.0).image
            writer.add(image_to_uint8(picture.permute(2, 0, 1).clamp(0, 1) * 2 - 1))


def middle(avatar: Avatar, pose: Pose) -> Tensor:
    """[3] of the box about a posed avatar; of head and shoulders what portraits look at."""
    if len(avatar.joints) == 24:
        return torch.tensor(PORTRAIT_CAMERA.offset)
    means = avatar.driven(pose, pose.transforms.new_zeros(3)).means
    return ((means.amin(0) + means.amax(0)) / 2).cpu()


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser: ArgumentParser = make_parser()
    args = parser.parse_args(argv)
    if args.out.suffix[1:] not in EXTENSIONS:
        raise UserError(f"--out: expected a name that ends in one of {', '.join(EXTENSIONS)}, found {args.out}")
    device = resolve_device(args.device)
    avatar, _ = read_avatar(load_checkpoint(args.ckpt), args.ckpt)
    driven = (drive_portrait if len(avatar.joints) == 24 else drive_body)(avatar, args)
    write_video(avatar.to(device), driven, args, device)
    print(f"wrote {args.out}: {len(driven.poses)} frames")


if __name__ == "__main__":
    run_cli(main)
