"""From a tracker's landmarks to what a fit reads: which points of the open body they are, and how sure each one is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from networks.person.expressions import NUM_EXPRESSION
from networks.person.fitting.fit import Observed
from networks.person.fitting.points import BodyPoints, PointArrays, joint_points, open_body_model, surface_points
from networks.person.fitting.shape_map import ShapeMaps, read_shape_maps
from networks.person.open_body.storage import read_open_body
from networks.person.tracker.follow import Track
from networks.person.tracker.response import read_response
from networks.person.tracker.surface import LandmarkPoints, read_landmark_points
from networks.person.tracking import MILLIMETRES

# Landmarks of a face err together, so many of them say less than as many measurements would.
_SHARE = 0.15
_FLOOR = 0.7  # mm: nobody's landmark is surer
_SHOULDERS = (11, 12)  # of BlazePose
# Its elbows, left and right: SMPL's joint there, the one it hangs on, and how far off they may be, mm.
_ELBOWS = ((13, 18, 16), (14, 19, 17))
_ELBOW_SPREAD = 30.0
_LEAST_VISIBLE = 0.5
_LIDS = ((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373))  # upper, lower; right, left eye
# What two landmarks tell of actions: their distance in the picture, and how sure it is, mm. MediaPipe's numbers, the
# right eye's and side's first.
_PAIRS = (
    (0.5, _LIDS[0] + _LIDS[1]),
    (0.6, ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402))),  # inner lips
    (0.6, ((468, 33), (468, 133), (473, 362), (473, 263))),  # irises and corners of the eyes
    (0.8, ((61, 291), (78, 308))),  # corners of the mouth
    (1.0, ((105, 33), (107, 133), (66, 133), (334, 263), (336, 362), (296, 362))),  # brows and corners of the eyes
)
# Right and left eye: corners, lids, and the iris' landmarks. Closed ones show no iris.
_EYES = (
    ((33, 133), _LIDS[0], range(468, 473)),
    ((362, 263), _LIDS[1], range(473, 478)),
)
_CLOSED, _OPEN = 0.14, 0.24  # of an eye's width between its lids


def expressions(actions: torch.Tensor) -> torch.Tensor:
    """Fitted actions [F, 52] -> expressions [F, 64]."""
    return torch.nn.functional.pad(actions, (0, NUM_EXPRESSION - actions.shape[1]))


class Landmarks(NamedTuple):
    """The tracker's landmarks that a fit uses."""

    points: BodyPoints  # N of them: of the face, then shoulders and elbows
    face: np.ndarray  # [N'] which of the 478 the first ones are
    body: np.ndarray  # [N - N'] which of BlazePose's the others are
    spread: np.ndarray  # [N] mm
    pairs: torch.Tensor  # [M, 2] of N
    pair_spread: torch.Tensor  # [M] mm
    shapes: ShapeMaps | None  # what fits to them say of a person; None: what they find


def landmarks() -> Landmarks:
    """By the tables that ship with the project. Raises UserError: one is missing or damaged."""
    return landmarks_of(read_landmark_points())._replace(shapes=read_shape_maps())


def landmarks_of(table: LandmarkPoints) -> Landmarks:
    """By a table, without maps of shapes."""
    model = open_body_model()
    kept = table.reliable.copy()
    kept[1:468:2] = False  # neighbours say the same
    kept[np.unique([mark for _, pairs in _PAIRS for pair in pairs for mark in pair])] = True
    face = np.flatnonzero(kept & table.reliable)
    vertices = read_open_body().body_vertices[table.face_vertices[face]]
    on_face = _as_shown(surface_points(model, vertices, table.face_weights[face]), face)
    shoulders = list(_SHOULDERS)
    joints = np.array([*table.body_joints[shoulders], *(joint for _, joint, _ in _ELBOWS)])
    turns = np.array([*table.body_turns[shoulders], *(turn for _, _, turn in _ELBOWS)])
    offsets = np.concatenate([table.body_offsets[shoulders].astype(np.float64), np.zeros((len(_ELBOWS), 3))])
    on_body = joint_points(model, joints, turns, offsets)
    place = {int(landmark): row for row, landmark in enumerate(face)}
    pairs = [(place[a], place[b], spread) for spread, pairs in _PAIRS for a, b in pairs if a in place and b in place]
    return Landmarks(
        BodyPoints(model, on_face.join(on_body)),
        face,
        np.array([*shoulders, *(landmark for landmark, _, _ in _ELBOWS)]),
        np.concatenate([table.face_spread[face], table.body_spread[shoulders], np.full(len(_ELBOWS), _ELBOW_SPREAD)]),
        torch.tensor([pair[:2] for pair in pairs]),
        torch.tensor([pair[2] for pair in pairs], dtype=torch.float64),
        None,
    )


def _as_shown(points: PointArrays, face: np.ndarray) -> PointArrays:
    """Points of the face where, and as far as, their landmarks ``face`` [N] are shown to move."""
    shown = read_response()
    offsets, actions = (torch.from_numpy(part[face]).double() / MILLIMETRES for part in shown[:2])
    return points._replace(mean=points.mean + offsets, exp_basis=points.exp_basis + actions)


def observed(track: Track, marks: Landmarks) -> Observed:
    """What a track says of the landmarks. In frames without a face nothing is certain."""
    pixels = np.concatenate([track.face[:, marks.face, :2], track.pose[:, marks.body, :2]], 1).astype(np.float64)
    certainty = 1 / (marks.spread.astype(np.float64) ** 2 + _FLOOR**2)
    certainty[: len(marks.face)] *= _SHARE
    visible = track.pose_visibility[:, marks.body]
    there = np.concatenate(
        [np.repeat(track.found[:, None], len(marks.face), 1), np.where(visible > _LEAST_VISIBLE, visible, 0)], 1
    )
    there = there * track.found[:, None] * np.isfinite(pixels).all(-1)
    on_body = pixels[:, len(marks.face) :]
    inside = np.all((on_body >= 0) & (on_body <= np.array(track.image_size) - 1), -1)
    there[:, len(marks.face) :] *= inside  # what the detector guesses beyond the edge is far off
    shown = _shown_irises(track)
    there[:, : len(marks.face)] *= shown[:, marks.face]
    sure = torch.from_numpy(there * certainty)
    both = torch.minimum(*(torch.from_numpy(there)[:, end] for end in marks.pairs.unbind(-1)))
    return Observed(torch.from_numpy(np.nan_to_num(pixels)), sure, marks.pairs, both / marks.pair_spread**2)


def _shown_irises(track: Track) -> np.ndarray:
    """[F, 478] how much of a landmark open lids leave to see, 0..1: 1 but for irises."""
    shown = np.ones(track.face.shape[:2])
    points = np.nan_to_num(track.face[..., :2])

    def length(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=-1)

    for corners, lids, iris in _EYES:
        gap = np.mean([length(*lid) for lid in lids], 0) / np.maximum(length(*corners), 1e-6)
        shown[:, iris] = np.clip((gap - _CLOSED) / (_OPEN - _CLOSED), 0, 1)[:, None]
    return shown
