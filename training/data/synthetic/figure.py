"""The open body for drawing: everything of it that all people share, in double precision and canonical units."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.person.body_model import HEAD, MOVING, BodyModel, moving_weights
from networks.person.open_body.parts import EYE, LABEL_NAMES, LASH, SHIRT, SKIN, TEETH
from networks.person.open_body.storage import OpenBody, read_open_body
from training.data.synthetic.hair import HairRoots, find_roots, hair_faces
from training.data.synthetic.hair_fit import Scalp, between_knots
from training.data.synthetic.mesh import MM, face_sums, interpolation, nearby, thin

HEAD_WEIGHTS = np.eye(len(MOVING))[MOVING.index(HEAD)]
_SKULL = np.array([0.0, 30.0, -88.0]) * MM  # middle of the skull
_PROBE_SPACING = 6.0 * MM
# The open body bites edge to edge and hides its upper teeth; in people they reach over the lower ones, into sight.
_OVERBITE = np.array([0.0, -5.4, 3.6]) * MM
LIDS = 10.5 * MM  # height of the line between the lids


class Cloth(NamedTuple):
    """The shirt: K of the figure's vertices."""

    index: np.ndarray  # type: ignore[assignment]  # [K]; hides tuple.index
    faces: np.ndarray  # [F, 3] of the K
    near: np.ndarray  # [K] the nearest skin
    by_neck: np.ndarray  # [F] where a collar may lie


class Figure(NamedTuple):
    """V vertices of skin, eyes, teeth, tongue, lashes and shirt; H of them follow identity and expression."""

    body_model: BodyModel  # float64
    rest: np.ndarray  # [V, 3] the mean person in the canonical pose: where everything is painted
    betas: np.ndarray  # [V, 3, 10]
    head: np.ndarray  # [H] vertices
    identity: np.ndarray  # [H * 3, 80]
    expression: np.ndarray  # [H * 3, 64]
    weights: np.ndarray  # [V, J] skinning by MOVING
    part: np.ndarray  # [V]
    faces: np.ndarray  # [F, 3]
    sums: sparse.csr_matrix  # face_sums of them
    landmarks: np.ndarray  # [68]
    labels: dict[str, np.ndarray]  # [V] 0..1, by LABEL_NAMES
    eye: np.ndarray  # [V, 2] angle from the gaze, radians, rightwards and upwards; 0 elsewhere
    lash: np.ndarray  # [V, 3] 0 at the root .. 1 at the tip, 0..1 along the lid, 1 on the upper lid; 0 elsewhere
    probes: np.ndarray  # [P] vertices at which shadows are worked out
    spread: sparse.csr_matrix  # [V, P] how all vertices follow them
    blockers: np.ndarray  # vertices that cast shadows
    cloth: Cloth
    roots: HairRoots
    scalp: Scalp
    hair_faces: np.ndarray
    hair_spread: sparse.csr_matrix  # between_knots


@lru_cache(maxsize=1)
def figure() -> Figure:
    """The figure (built once per process, in about a second; always the same)."""
    body, arrays = read_open_body(), default_body()
    model = BodyModel(arrays, torch.as_tensor(head_shoulder_vertices(arrays))).double()
    with torch.no_grad():  # shape and neutral pose are linear in betas
        shapes = model.canonical_vertices(torch.cat([torch.zeros(1, 10), torch.eye(10)]).double()).numpy()
    kept = body.body_vertices
    place = np.full(len(body.part), -1)
    place[kept] = np.arange(len(kept))
    part, faces = body.part[kept].astype(np.int64), body.mesh(kept)
    teeth, lashes = _pieces(faces, part == TEETH), _pieces(faces, part == LASH)
    rest = shapes[0].copy()
    rest[max(teeth, key=lambda piece: rest[piece, 1].max())] += _OVERBITE
    labels = {name: body.labels[kept, i] / 255.0 for i, name in enumerate(LABEL_NAMES)}
    outer = np.flatnonzero(
        (part == SKIN) & (labels["ears"] < 0.1) & (labels["mouth_inside"] < 0.1) & (labels["eye_socket"] < 0.1)
    )
    skull = rest[outer[rest[outer, 1] > -70 * MM]]
    index = np.concatenate([outer[rest[outer, 1] > -130 * MM], np.flatnonzero(part == SHIRT)])
    index = index[thin(rest[index], 5 * MM)]
    weights = moving_weights(arrays.lbs_weights, arrays.parents)
    seen = np.flatnonzero((part == SHIRT) | ((part == SKIN) & (labels["eye_socket"] < 0.5)) | (part == EYE))
    # What lies in the mouth and behind the lids is as near to the skin as it is dark: it does not speak for it.
    bare = (part[seen] != EYE) & (labels["mouth_inside"][seen] < 0.1) & (labels["eye_socket"][seen] < 0.1)
    probes = seen[bare][thin(rest[seen[bare]], _PROBE_SPACING)]
    return Figure(
        body_model=model,
        rest=rest,
        betas=np.moveaxis(shapes[1:] - shapes[0], 0, -1),
        head=place[body.head_vertices[place[body.head_vertices] >= 0]],
        identity=_of_head(body, body.id_basis, place),
        expression=_of_head(body, body.exp_basis, place),
        weights=weights,
        part=part,
        faces=faces,
        sums=face_sums(faces, len(part)),
        landmarks=place[body.landmarks],
        labels=labels,
        eye=_gaze(rest, part, body.eye_angle[kept].astype(np.float64)),
        lash=_lashes(rest, part, lashes),
        probes=probes,
        spread=interpolation(*nearby(cKDTree(rest[probes]), rest, k=8, soft=_PROBE_SPACING), len(probes)),
        blockers=seen,
        cloth=_cloth(rest, faces, part),
        roots=find_roots(skull, _SKULL),
        scalp=Scalp(index, rest[index], cKDTree(rest[index]), weights[index]),
        hair_faces=hair_faces(),
        hair_spread=between_knots(),
    )


def _cloth(rest: np.ndarray, faces: np.ndarray, part: np.ndarray) -> Cloth:
    index, skin = np.flatnonzero(part == SHIRT), np.flatnonzero(part == SKIN)
    own = faces[part[faces[:, 0]] == SHIRT]
    place = np.zeros(len(part), np.int64)
    place[index] = np.arange(len(index))
    near = skin[cKDTree(rest[skin]).query(rest[index])[1]]
    return Cloth(index, place[own], near, (rest[own, 1] > -230.0 * MM).all(1))


def _of_head(body: OpenBody, basis: np.ndarray, place: np.ndarray) -> np.ndarray:
    return basis[place[body.head_vertices] >= 0].astype(np.float64).reshape(-1, basis.shape[-1])


def _gaze(rest: np.ndarray, part: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """[V, 2] where on its eyeball a vertex lies."""
    at = np.zeros((len(rest), 2))
    for side in (rest[:, 0] > 0, rest[:, 0] < 0):
        ball = np.flatnonzero((part == EYE) & side)
        away = (rest[ball] - rest[ball[np.argmin(angle[ball])]])[:, :2]
        at[ball] = angle[ball, None] * away / np.maximum(np.hypot(*away.T), 1e-9)[:, None]
    return at


def _pieces(faces: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
    """Vertices of every piece of the mesh that hangs together, of the ``chosen`` [V]."""
    rows, columns = faces.ravel(), np.roll(faces, 1, 1).ravel()
    edges = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(chosen), len(chosen)))
    piece = sparse.csgraph.connected_components(edges, directed=False)[1]
    return [np.flatnonzero(piece == which) for which in np.unique(piece[chosen])]


def _lashes(rest: np.ndarray, part: np.ndarray, strips: list[np.ndarray]) -> np.ndarray:
    """[V, 3] where on its strip a vertex of the lashes lies."""
    at, from_eye = np.zeros((len(rest), 3)), cKDTree(rest[part == EYE]).query(rest)[0]
    for strip in strips:
        x, reach = np.abs(rest[strip, 0]), from_eye[strip]
        at[strip, 0] = (reach - reach.min()) / np.ptp(reach)
        at[strip, 1] = (x - x.min()) / np.ptp(x)
        at[strip, 2] = rest[strip, 1].mean() > LIDS
    return at
