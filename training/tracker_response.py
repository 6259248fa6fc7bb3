"""Find out how the tracker's landmarks move when faces act, by looking at drawn people.

    python -m training.tracker_response --people 60

Many people are drawn while they do this and that, and each landmark is compared with the point of the surface that it
is (training/tracker_calibration.py). What is left is, by ridge regression, an offset and a displacement by each facial
action, in the head's own frame.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from networks.cameras import camera_frame
from networks.person.body_model import euler_to_matrix
from networks.person.controls import HEAD, NECK
from networks.person.fitting.points import BodyPoints, open_body_model, surface_points
from networks.person.open_body.storage import NUM_ACTIONS, read_open_body
from networks.person.tracker.response import PATH, Response, write_response
from networks.person.tracker.surface import LandmarkPoints, read_landmark_points
from torch_utils.misc import file_sha256, run_cli
from training.data.synthetic.drawing import FACE_RADIUS, FOV_DEGREES, camera_view, project
from training.data.synthetic.mesh import MM
from training.tracker_calibration import arguments
from training.tracker_people import Look, looks

SIZE = 256  # pixels
SHOTS = 14  # of a person
_MM = 2 * np.tan(np.radians(FOV_DEGREES) / 2) / FACE_RADIUS / SIZE / MM  # a pixel's, at the orbit's centre
_SOFT = 2.5  # mm: residuals above it weigh less, as in Huber's loss
# Ridges, pictures: of offsets and of actions, along the face's x, y and z. Pictures say little of depth.
_OFFSET_RIDGE, _ACTION_RIDGE = np.full(3, 0.5), np.array([8.0, 8.0, 48.0])
_ROUNDS = 4


class Samples(NamedTuple):
    """What was found in S pictures, beside what is in them."""

    off: np.ndarray  # [S, 478, 2] mm, x right, y down: landmarks less the points of the surface that they are
    turns: np.ndarray  # [S, 3, 3] rotation of the head in the camera's frame (x right, y up)
    actions: np.ndarray  # [S, 52]


def main() -> None:
    """Command line; see the module's docstring."""
    args = arguments("tracker_response", __doc__, people=60, seed=9001, out=PATH)
    samples = collect(looks(args.people, args.seed, SHOTS, SIZE, parts=False), read_landmark_points())
    response, before, after = responses(samples)
    response.metadata.update(people=args.people, seed=args.seed, pictures=len(samples.off))
    write_response(response, args.out)
    print(f"{len(samples.off)} pictures; landmarks lie {before:.2f} mm from their points, {after:.2f} mm from where ")
    print(f"these are said to be shown (medians); wrote {args.out} sha256 {file_sha256(args.out)}")


def collect(pictures: Iterable[Look], table: LandmarkPoints) -> Samples:
    """The landmarks of pictures beside where the points of their people's surfaces are."""
    model = open_body_model()
    vertices = read_open_body().body_vertices[table.face_vertices]
    points = BodyPoints(model, surface_points(model, vertices, table.face_weights))
    rows = [_compared(look, points) for look in pictures]
    return Samples(*(np.stack(values) for values in zip(*rows, strict=True)))


def _compared(look: Look, points: BodyPoints) -> Samples:
    """A row of Samples."""
    shape, actions = torch.from_numpy(look.shape).double(), torch.from_numpy(look.actions).double()[None]
    turned, camera = torch.from_numpy(look.eulers).double()[None], torch.from_numpy(look.camera)[None]
    posed = points.pose(points.canonical(shape, actions), points.transforms(points.joints(shape), turned))[0]
    head = euler_to_matrix(turned[:, NECK]) @ euler_to_matrix(turned[:, HEAD])
    seen = camera_frame(camera, 1.0)[0].mT @ head
    places = project(posed.numpy(), camera_view(look.camera), SIZE)[0]
    return Samples(_MM * (look.seen.face[:, :2] - places), seen[0].numpy(), look.actions)


def responses(samples: Samples) -> tuple[Response, float, float]:
    """What landmarks show, and how far they are off without it and with it (medians of distances, mm)."""
    rows = samples.turns[:, :2] * np.array([1.0, -1.0])[:, None]  # [S, 2, 3]: mm of the picture by mm of the face
    amounts = np.concatenate([np.ones((len(rows), 1)), samples.actions], 1)  # [S, 1 + 52]
    design = np.einsum("sck,sa->scka", rows, amounts).reshape(2 * len(rows), -1)
    ridges = np.concatenate([_OFFSET_RIDGE[:, None], np.repeat(_ACTION_RIDGE[:, None], NUM_ACTIONS, 1)], 1)
    ridge = np.diag(ridges.ravel())
    found = np.zeros((samples.off.shape[1], design.shape[1]))
    left = samples.off
    for _ in range(_ROUNDS):
        trust = 1 / np.maximum(np.linalg.norm(left, axis=-1) / _SOFT, 1)  # [S, 478]
        for landmark, weight in enumerate(np.repeat(trust, 2, 0).T):
            weighted = design.T * weight
            found[landmark] = np.linalg.solve(weighted @ design + ridge, weighted @ samples.off[:, landmark].ravel())
        left = samples.off - (design @ found.T).reshape(len(rows), 2, -1).transpose(0, 2, 1)
    shown = found.reshape(len(found), 3, -1).astype(np.float32)
    before, after = (float(np.median(np.linalg.norm(off, axis=-1))) for off in (samples.off, left))
    return Response(shown[..., 0], shown[..., 1:], {}), before, after


if __name__ == "__main__":
    run_cli(main)
