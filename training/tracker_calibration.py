"""Find out which points of the open body the tracker's landmarks are, by looking at drawn people.

    python -m training.tracker_calibration --people 24

Landmarks are detected in portraits of many people, whose surface is known. A landmark of the face becomes the point of
the surface whose projections lie nearest to where it was found, over all pictures; a landmark of the body becomes a
point that hangs on a joint. No table made by hand goes into it.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import trange

from networks.person.body_model import HEAD
from networks.person.open_body.parts import EYE
from networks.person.open_body.storage import OpenBody, read_open_body
from networks.person.tracker.follow import NUM_LANDMARKS, Tracker
from networks.person.tracker.landmarks import NUM_FACE
from networks.person.tracker.surface import NUM_BODY_POINTS, PATH, LandmarkPoints, write_landmark_points
from torch_utils.bounds import MAX_IMAGES, MAX_SEED, whole_number
from torch_utils.misc import CliParser, UserError, file_sha256, run_cli
from training.data.synthetic import SyntheticPerson, draw, sample_expression, sample_identity, sample_pose_camera
from training.data.synthetic.drawing import FACE_RADIUS, FOV_DEGREES, camera_view, project
from training.data.synthetic.mesh import MM

SIZE = 384  # pixels
SHOTS = 4  # of a person; the first one's face is calm
_MM = 2 * np.tan(np.radians(FOV_DEGREES) / 2) / FACE_RADIUS / SIZE / MM  # a pixel's, at the orbit's centre
_NEAREST = 8  # vertices: the point is looked for in the triangles around them
_SOFT = 1.5  # mm: residuals above it weigh less, as in Huber's loss
# Of BlazePose's landmarks, face and ears, then shoulders: the joint they lie at, and the one they turn with.
JOINTS = np.array([HEAD] * 11 + [16, 17])
TURNS = np.array([HEAD] * 11 + [13, 14])


class Samples(NamedTuple):
    """What was found in S pictures, and what is in them. Pixels as the drawing's."""

    face: np.ndarray  # [S, 478, 2] pixels
    body: np.ndarray  # [S, 13, 2] pixels
    shown: np.ndarray  # [S, 13] visibility of the latter
    vertices: np.ndarray  # [S, V', 2] pixels: projections of the open body's ``body_vertices``
    joints: np.ndarray  # [S, 13, 3, 4]: rotation of TURNS and place of JOINTS, in the camera's frame

    def join(self, other: "Samples") -> "Samples":
        return Samples(*map(np.concatenate, zip(self, other, strict=True)))


def arguments(program: str, description: str | None, *, people: int, seed: int, out: Path) -> argparse.Namespace:
    """What programs that look at drawn people are told, with these defaults."""
    parser = CliParser(prog=f"python -m training.{program}", description=description)
    for name, kind, default, what in (
        ("--people", whole_number(1, MAX_IMAGES), people, "to draw"),
        ("--seed", whole_number(0, MAX_SEED), seed, "of them"),
        ("--out", Path, out, "file to write"),
    ):
        parser.add_argument(name, type=kind, default=default, help=f"{what} (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Command line; see the module's docstring."""
    args = arguments("tracker_calibration", __doc__, people=24, seed=0, out=PATH)
    samples = collect(args.people, args.seed, progress=True)
    points = calibrate(samples, read_open_body())
    points.metadata.update(people=args.people, seed=args.seed, pictures=len(samples.face))
    write_landmark_points(points, args.out)
    iris = points.face_spread[NUM_FACE:]
    print(f"{len(samples.face)} pictures; {points.reliable.sum()} of {NUM_LANDMARKS} landmarks are reliable")
    print(f"spread, mm: face {np.median(points.face_spread):.1f} (median), irises {np.median(iris):.1f}, ", end="")
    print(f"shoulders {points.body_spread[-2:].mean():.1f}")
    print(f"wrote {args.out} sha256 {file_sha256(args.out)}")


def collect(people: int, seed: int, shots: int = SHOTS, progress: bool = False) -> Samples:
    """Draws people, ``shots`` of each, and detects their landmarks. Raises UserError where no face is found at all."""
    tracker, rows = Tracker(), []
    for number in trange(people, disable=not progress):
        rng = np.random.default_rng([seed, number])
        identity = sample_identity(rng)
        person = SyntheticPerson(identity.z_id, identity.eps, identity.betas)
        for shot in range(shots):
            row = _look(tracker, person, rng, calm=shot == 0)
            rows += [] if row is None else [row]
    if not rows:
        raise UserError("no face was found in any picture")
    return Samples(*(np.stack(values) for values in zip(*rows, strict=True)))


def _look(tracker: Tracker, person: SyntheticPerson, rng: np.random.Generator, calm: bool) -> Samples | None:
    """One picture, with values of Samples without their first axis; None where the tracker finds nobody."""
    pose, expression = sample_pose_camera(rng), sample_expression(rng) * (not calm)
    posed, view = person.posed(expression, pose.joint_eulers), camera_view(pose.camera)
    picture = draw(posed, pose.camera, SIZE)
    wall = rng.uniform(0.3, 1.0, 3)
    pixels = (picture.image.transpose(1, 2, 0) + 1) / 2 - (1 - picture.alpha[..., None]) * (1 - wall)
    image = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
    tracker.forget()
    seen = tracker.step(image)
    if np.isnan(seen.face).any() or np.isnan(seen.pose).any():
        return None
    transforms = person.joint_transforms(pose.joint_eulers)[TURNS]  # [13, 4, 4] canonical -> posed
    rest = _canonical_joints(person)[JOINTS]
    places = np.einsum("jab,jb->ja", transforms[:, :3, :3], rest) + transforms[:, :3, 3]
    turned = view.rotation.T @ transforms[:, :3, :3]
    joints = np.concatenate([turned, ((places - view.origin) @ view.rotation)[:, :, None]], 2)
    vertices = project(posed.surfaces[0].vertices, view, SIZE)[0]
    body = slice(NUM_BODY_POINTS)
    return Samples(seen.face[:, :2], seen.pose[body, :2], seen.pose_visibility[body], vertices, joints)


def _canonical_joints(person: SyntheticPerson) -> np.ndarray:
    with torch.no_grad():
        return person.figure.body_model.canonical_joints(torch.from_numpy(person.betas)[None])[0].numpy()


def calibrate(samples: Samples, body: OpenBody) -> LandmarkPoints:
    """The points of the open body that explain the samples best."""
    vertices, weights, spread = surface_points(samples, body)
    offsets, body_spread = joint_points(samples)
    return LandmarkPoints(
        face_vertices=vertices,
        face_weights=weights.astype(np.float32),
        face_spread=spread.astype(np.float32),
        body_joints=JOINTS,
        body_turns=TURNS,
        body_offsets=offsets.astype(np.float32),
        body_spread=body_spread.astype(np.float32),
        metadata={},
    )


def surface_points(samples: Samples, body: OpenBody) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners [478, 3] among the body vertices, barycentric weights [478, 3] and spread [478] mm of the landmarks."""
    kept = body.body_vertices
    faces, on_head = body.mesh(kept), np.isin(kept, body.head_vertices)
    skin, eye = body.outer_skin()[kept] & on_head, body.part[kept] == EYE
    corners = np.zeros((NUM_LANDMARKS, 3), np.int64)
    weights, spread = np.zeros((NUM_LANDMARKS, 3)), np.zeros(NUM_LANDMARKS)
    for landmarks, allowed in ((np.arange(NUM_FACE), skin), (np.arange(NUM_FACE, NUM_LANDMARKS), eye)):
        usable = faces[allowed[faces].all(1)]
        nearest = _nearest_vertices(samples.face[:, landmarks], samples.vertices, np.unique(usable))
        for landmark, around in zip(landmarks, nearest, strict=True):
            triangles = usable[np.isin(usable, around).any(1)]
            found = _best_point(samples.face[:, landmark], samples.vertices, triangles)
            corners[landmark], weights[landmark], spread[landmark] = found
    return corners, weights, spread


def _nearest_vertices(landmarks: np.ndarray, vertices: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Of the ``candidates`` [C] those [L, _NEAREST] whose projections are nearest to the landmarks [S, L, 2]."""
    total = np.zeros((landmarks.shape[1], len(candidates)), np.float32)
    for found, places in zip(landmarks.astype(np.float32), vertices[:, candidates].astype(np.float32), strict=True):
        apart = (found[:, None, 0] - places[:, 0]) ** 2 + (found[:, None, 1] - places[:, 1]) ** 2
        total += np.sqrt(apart * _MM**2 + _SOFT**2)
    return candidates[np.argpartition(total, _NEAREST, axis=1)[:, :_NEAREST]]


def _best_point(landmark: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> tuple:
    """Corners [3], weights [3] and spread of the point of ``triangles`` [T, 3] nearest to a landmark [S, 2]."""
    places = vertices[:, triangles].transpose(1, 0, 3, 2)  # [T, S, 2, 3]
    edges = places[..., :2] - places[..., 2:]  # the third weight is 1 minus the others
    target = landmark - places[..., 2]  # [T, S, 2]
    weights = np.full((len(triangles), 3), 1 / 3)
    for _ in range(8):  # reweighted least squares
        apart = _apart(target, edges, weights)
        trust = 1 / np.maximum(apart, _SOFT)[..., None, None]
        normal = np.einsum("tsia,tsib->tab", edges * trust, edges) + 1e-9 * np.eye(2)
        right = np.einsum("tsia,tsi->ta", edges * trust, target)
        weights = _into_triangle(np.linalg.solve(normal, right[..., None])[..., 0], normal)
    apart = _apart(target, edges, weights)
    best = int(np.where(apart > _SOFT, 2 * _SOFT * apart - _SOFT**2, apart**2).mean(1).argmin())
    return triangles[best], weights[best], _spread(apart[best])


def _apart(target: np.ndarray, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Residuals [T, S] in mm."""
    return _MM * np.linalg.norm(target - np.einsum("tsia,ta->tsi", edges, weights[:, :2]), axis=-1)


def _spread(apart: np.ndarray) -> float:
    """Root mean square of residuals [S], those beyond three times their median counted as that."""
    return float(np.sqrt((np.minimum(apart, 3 * np.median(apart)) ** 2).mean()))


def _into_triangle(free: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The minima [T, 2] of forms ``normal`` [T, 2, 2] in the first two weights -> the best ones in 0..1 [T, 3]."""
    ends = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    options = [free]
    for a, b in ((0, 1), (1, 2), (2, 0)):  # the best of each edge
        along = ends[b] - ends[a]
        step = np.einsum("tab,ta,b->t", normal, free - ends[a], along) / np.einsum("tab,a,b->t", normal, along, along)
        options.append(ends[a] + step.clip(0, 1)[:, None] * along)
    stacked = np.stack(options, 1)  # [T, 4, 2]
    inside = (stacked >= 0).all(2) & (stacked.sum(2) <= 1 + 1e-9)
    off = stacked - free[:, None]
    cost = np.where(inside, np.einsum("tka,tab,tkb->tk", off, normal, off), np.inf)
    chosen = stacked[np.arange(len(free)), cost.argmin(1)]
    return np.concatenate([chosen, 1 - chosen.sum(1, keepdims=True)], 1)


def joint_points(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Offsets [13, 3] of the body's landmarks from JOINTS, canonical units, and spread [13] mm."""
    offsets, spread = np.zeros((NUM_BODY_POINTS, 3)), np.zeros(NUM_BODY_POINTS)
    slope = 1 / np.tan(np.radians(FOV_DEGREES) / 2)
    seen = samples.body / (0.5 * (SIZE - 1)) - 1  # x right, y down, -1..1
    for point in range(NUM_BODY_POINTS):
        rotation, place = samples.joints[:, point, :, :3], samples.joints[:, point, :, 3]
        x, y = seen[:, point, 0, None], -seen[:, point, 1, None]
        # A point p of the camera's frame is seen at (x, y) = -slope * p_xy / p_z.
        rows = np.stack([slope * np.eye(3)[0] + x * np.eye(3)[2], slope * np.eye(3)[1] + y * np.eye(3)[2]], 1)
        left, right = rows @ rotation, -np.einsum("sia,sa->si", rows, place)  # [S, 2, 3], [S, 2]
        scale = 1 / (slope * MM)  # to mm
        offset = np.zeros(3)
        for _ in range(8):
            apart = scale * np.linalg.norm(left @ offset - right, axis=1)
            trust = np.repeat(samples.shown[:, point] / np.maximum(apart, _SOFT), 2) ** 0.5
            offset = np.linalg.lstsq(left.reshape(-1, 3) * trust[:, None], right.ravel() * trust, rcond=None)[0]
        offsets[point] = offset
        spread[point] = _spread(scale * np.linalg.norm(left @ offset - right, axis=1))
    return offsets, spread


if __name__ == "__main__":
    run_cli(main)
