"""How well a video tells what a person does: drawn people whose motion is known, tracked and fitted.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_from_video
    OMP_NUM_THREADS=1 python -m tests.benchmarks.bm_from_video --people 4 --size 384

People are driven by the shipped keyframes, expressions, head, shoulders and a camera that goes round them, and drawn on
a coloured ground. Shoulders: joints of the mean body under the found and the true pose. Landmarks: the 68 of the face,
in its own frame; once more without how far the whole face is off and how much too large it is; and of the calm face,
fitted to one frame, to four and to the video. Jitter: mean size of second differences, found over true. Correlations
are over all frames of a person. Every figure is a mean over people, with the worst person's beside it.

The people of the default seed had no part in making or choosing anything. Those of seeds 31337 (training.tracker_shapes
and tracker_response), 4711 (tracker_calibration), and 555, 777 and 901, by which constants were chosen, had.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from inference.keyframes import Motion, load_keyframes, make_motion
from networks.cameras import camera_frame
from networks.person.body_model import euler_to_matrix
from networks.person.controls import HEAD, NECK
from networks.person.expressions import columns_of
from networks.person.fitting.measured import Landmarks, landmarks, observed
from networks.person.fitting.points import BodyPoints, joint_points, open_body_model, surface_points
from networks.person.fitting.video import Performance, fit_known, fit_video
from networks.person.open_body.storage import NUM_ACTIONS, read_open_body
from networks.person.tracker.follow import Track, track
from networks.person.tracking import MILLIMETRES
from tests.benchmarks.records import add_record, record
from torch_utils.bounds import MAX_SEED, whole_number
from torch_utils.misc import CliParser, run_cli
from torch_utils.video_reader import Frame
from training.data.synthetic import SyntheticPerson, draw, sample_identity

SHOWN = ("eyeBlink", "jawOpen", "mouthSmile", "browInnerUp", "browDown", "mouthPucker")
SHOULDERS = np.array([16, 17])
_ONE = np.ones((68, 1))


class Clip(NamedTuple):
    frames: list[Frame]
    shape: torch.Tensor  # [90]
    motion: Motion


def main() -> None:
    """Command line; see the module's docstring."""
    parser = CliParser(prog="python -m tests.benchmarks.bm_from_video")
    parser.add_argument("--people", type=whole_number(1, 100), default=8, help="to draw (%(default)s)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=2026, help="of the people (%(default)s)")
    parser.add_argument("--interval", type=whole_number(1, 100), default=8, help="frames a keyframe (%(default)s)")
    parser.add_argument("--size", type=whole_number(64, 1024), default=192, help="pixels a side (%(default)s)")
    add_record(parser)
    args = parser.parse_args()
    marks, rows = landmarks(), []
    for number in range(args.people):
        clip = draw_clip(args.seed, number, args.interval, args.size)
        seen = track(clip.frames)
        start = time.process_time()
        found = fit_video(seen, marks)
        seconds = time.process_time() - start
        cost = {"fit, s of processor time for 250 frames": 250 * seconds / len(seen.found)}
        rows.append(figures(found, clip) | calm_faces(found, clip, seen, marks) | cost)
        print(f"person {number}: {seen.found.mean():.0%} of {len(seen.found)} frames with a face", flush=True)
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
    worst = {name: float((np.nanmin if name.endswith(", r") else np.nanmax)([r[name] for r in rows])) for name in means}
    print(f"{'mean over people, and the worst one':48s}")
    for name, value in means.items():
        print(f"{name:48s} {value:8.2f} {worst[name]:8.2f}")
    if args.record:
        record("bm_from_video", means | {f"{name}, worst person": value for name, value in worst.items()})


def draw_clip(seed: int, number: int, interval: int, size: int) -> Clip:
    """A person driven by the shipped keyframes, 25 frames a second."""
    expression, pose, camera = (
        load_keyframes(f"keyframes/{name}", kind)
        for name, kind in (("expression.npz", "expression"), ("pose.npy", "pose"), ("orbit.npy", "camera"))
    )
    motion = make_motion(expression, pose, camera, n_interval=interval)
    rng = np.random.default_rng([seed, number])
    who, ground = sample_identity(rng), rng.uniform(0.3, 0.9, 3)
    person = SyntheticPerson(who.z_id, who.eps, who.betas)
    return Clip(
        list(_frames(person, motion, ground, size)),
        torch.from_numpy(np.concatenate([who.z_id, who.betas]).astype(np.float64)),
        motion,
    )


def _frames(person: SyntheticPerson, motion: Motion, ground: np.ndarray, size: int) -> Iterator[Frame]:
    for i in range(motion.n_frames):
        picture = draw(person.posed(motion.expression[i], motion.joint_eulers[i]), motion.camera[i], size)
        colours = (picture.image.transpose(1, 2, 0) + 1) / 2 - (1 - picture.alpha[..., None]) * (1 - ground)
        yield Frame(i / 25, np.rint(colours.clip(0, 1) * 255).astype(np.uint8))


def figures(found: Performance, clip: Clip) -> dict[str, float]:
    """What is asked of keyframes from a video, by name."""
    model, true = open_body_model(), clip.motion
    eulers, true_eulers = torch.from_numpy(found.joint_eulers), torch.from_numpy(true.joint_eulers)
    cameras, true_cameras = torch.from_numpy(found.camera), torch.from_numpy(true.camera)
    head, true_head = _head(eulers), _head(true_eulers)
    seen, true_seen = (camera_frame(c, 1.0)[0].mT @ h for c, h in ((cameras, head), (true_cameras, true_head)))
    shoulders = BodyPoints(model, joint_points(model, SHOULDERS, SHOULDERS, np.zeros((2, 3))))
    marks = BodyPoints(model, surface_points(model, read_open_body().landmarks[:, None], _ONE))
    place, true_place = (_shoulders(shoulders, e) for e in (eulers, true_eulers))
    face = marks.canonical(torch.from_numpy(found.shape), torch.from_numpy(found.expression[:, :NUM_ACTIONS]))
    true_face = marks.canonical(clip.shape, torch.from_numpy(true.expression[:, :NUM_ACTIONS]))
    out = {
        "camera, degrees": float(np.degrees(np.abs(found.camera - true.camera)).mean()),
        "head, degrees": _degrees(head, true_head),
        "head before the camera, degrees": _degrees(seen, true_seen),
        "shoulders, mm": _millimetres(place, true_place),
        "shoulders, mm, if they were left at rest": _millimetres(_shoulders(shoulders, 0 * eulers), true_place),
        "landmarks, mm": _millimetres(face, true_face),
        "landmarks, mm, place and size taken out": _millimetres(_laid_on(face, true_face), true_face),
        "jitter of the head": _jitter(found.joint_eulers[:, HEAD]) / _jitter(true.joint_eulers[:, HEAD]),
        "jitter of the expression": _jitter(found.expression) / _jitter(true.expression),
    }
    for name in SHOWN:
        pairs = [(found.expression[:, column], true.expression[:, column]) for column in columns_of(name)]
        out[f"{name}, r"] = float(np.mean([np.corrcoef(*pair)[0, 1] if pair[0].any() else 0.0 for pair in pairs]))
    return out


def calm_faces(found: Performance, clip: Clip, seen: Track, marks: Landmarks) -> dict[str, float]:
    """How far the calm face's landmarks lie off, by how many frames it was fitted to."""
    face = BodyPoints(open_body_model(), surface_points(open_body_model(), read_open_body().landmarks[:, None], _ONE))
    calm, frames = torch.zeros(1, NUM_ACTIONS, dtype=torch.float64), observed(seen, marks)
    known = np.flatnonzero(seen.found)
    few = {
        f"calm landmarks, mm, {len(rows)} frames": rows for rows in (known[:1], known[:: max(1, len(known) // 4)][:4])
    }
    shapes = {name: fit_known(frames.rows(torch.from_numpy(rows)), marks).shape for name, rows in few.items()}
    shapes["calm landmarks, mm, whole video"] = torch.from_numpy(found.shape)
    true = face.canonical(clip.shape, calm)
    return {name: _millimetres(face.canonical(shape, calm), true) for name, shape in shapes.items()}


def _head(eulers: torch.Tensor) -> torch.Tensor:
    return euler_to_matrix(eulers[:, NECK]) @ euler_to_matrix(eulers[:, HEAD])


def _shoulders(points: BodyPoints, eulers: torch.Tensor) -> torch.Tensor:
    mean, still = torch.zeros(90, dtype=eulers.dtype), torch.zeros(len(eulers), NUM_ACTIONS, dtype=eulers.dtype)
    return points.pose(points.canonical(mean, still), points.transforms(points.joints(mean), eulers))


def _degrees(a: torch.Tensor, b: torch.Tensor) -> float:
    trace = (a.mT @ b).diagonal(dim1=-2, dim2=-1).sum(-1)
    return float(torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos()).mean())


def _laid_on(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Points a [F, N, 3], moved and scaled to lie on b: one video does not tell a large face from a near one."""
    off, goal = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = (off * goal).sum() / (off * off).sum()
    return size * off + b.mean(1, keepdim=True)


def _millimetres(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm(dim=-1).mean() * MILLIMETRES)


def _jitter(values: np.ndarray) -> float:
    return float(np.abs(np.diff(values, 2, axis=0)).mean())


if __name__ == "__main__":
    run_cli(main)
