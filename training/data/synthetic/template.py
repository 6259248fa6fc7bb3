"""What all synthetic people share: topology, skinning, paint fields and how the parts follow face and body."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from networks.embedded.face import face_regions
from networks.embedded.frames import to_canonical
from networks.embedded.head import EYE
from networks.embedded.head import EYE_RADIUS as HEAD_EYE_RADIUS
from networks.person.body_assets import embedded_body, head_shoulder_vertices
from networks.person.body_model import HEAD, POSED_JOINTS, BodyModel
from networks.person.face_model import FaceArrays, embedded_face
from training.data.synthetic.clothes import below_neckline
from training.data.synthetic.hair import HairRoots, find_roots, hair_faces, polar
from training.data.synthetic.hair_fit import KNOTS, Scalp, between_knots
from training.data.synthetic.lighting import Probes, dome_form, join_probes, place_probes
from training.data.synthetic.mesh import (
    MM,
    Displacement,
    Subdivision,
    face_sums,
    interpolation,
    nearby,
    smoothstep,
    subdivide,
    thin,
    vertex_normals,
)
from training.data.synthetic.paint import FacePaint, measure

EYE_CENTRE = to_canonical(EYE)  # of the left eyeball
EYE_RADIUS = HEAD_EYE_RADIUS * MM * 1000
_LOWEST = -0.33  # canonical y below which nothing is in the picture


# What moves the portrait: the trunk, then SMPL's joints 12 to 17. Every other joint moves like one of them.
MOVING = (0, *range(POSED_JOINTS.start, POSED_JOINTS.stop))
HEAD_WEIGHTS = np.eye(len(MOVING))[MOVING.index(HEAD)]


class PersonTemplate(NamedTuple):
    """Constants of the embedded body and face, refined for drawing; canonical units throughout."""

    body_model: BodyModel  # float64
    body_mean: np.ndarray  # [B, 3] refined body of betas 0, canonical pose
    body_betas: Displacement  # how it follows betas
    body_faces: np.ndarray  # [Fb, 3]
    body_sums: sparse.csr_matrix  # face_sums of them
    body_weights: np.ndarray  # [B, J] skinning by MOVING
    bare: np.ndarray  # [S] body vertices that no shirt always hides
    bare_faces: np.ndarray  # [Fs, 3] into ``bare``
    cloth: np.ndarray  # [C] body vertices that carry the shirt
    cloth_faces: np.ndarray  # [Fc, 3] into ``cloth``
    cloth_sums: sparse.csr_matrix
    neighbours: sparse.csr_matrix  # [B, B] mean of a body vertex's neighbours
    face_mean: np.ndarray  # [F, 3] refined face
    face_id: Displacement  # how it follows z_id
    face_exp: Displacement  # and z_exp
    face_faces: np.ndarray
    face_sums: sparse.csr_matrix
    face_weights: np.ndarray  # [F, J]
    interior: np.ndarray  # [F] 0..1 inside of the mouth
    ear: np.ndarray  # [F] 0..1
    marks: np.ndarray  # [68] landmark indices
    follow_id: sparse.csr_matrix  # [B, F] how the body's skin follows the face's identity
    follow_exp: sparse.csr_matrix  # [S, F] and its expression
    sink: np.ndarray  # [S] how far body skin is pulled in under the face
    paint: FacePaint  # on [S + F] skin vertices
    roots: HairRoots
    polar: tuple[np.ndarray, np.ndarray]  # azimuth and angle [S + F] about the crown, of skin vertices
    scalp: Scalp  # body and face as the hair sees them
    hair_faces: np.ndarray
    hair_sums: sparse.csr_matrix
    hair_spread: sparse.csr_matrix  # between_knots
    probes: Probes  # of the light, on skin, shirt and hair
    dome: np.ndarray  # the light without shadows


def _refine_curved(points: np.ndarray, faces: np.ndarray, marked: np.ndarray):
    """One subdivision whose new points lie on the smooth surface through the old ones (PN-triangle edge points)."""
    level = subdivide(faces, marked, len(points))
    normals = vertex_normals(points, faces)
    a, b = level.pairs.T
    edge = points[b] - points[a]
    lift = (normals[b] * edge).sum(1, keepdims=True) * normals[b]
    lift -= (normals[a] * edge).sum(1, keepdims=True) * normals[a]
    return level, np.concatenate([points, 0.5 * (points[a] + points[b]) + lift / 8.0])


def follow_matrix(targets: np.ndarray, sources: np.ndarray, reach: float, core: float) -> sparse.csr_matrix:
    """[T, S] weights by which targets copy near sources' displacement: fully within ``core``, not past ``reach``."""
    tree = cKDTree(sources)
    index, weight = nearby(tree, targets, k=10)
    return interpolation(index, weight * smoothstep(reach, core, tree.query(targets)[0])[:, None], len(sources))


def near_weights(points: np.ndarray, body: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Skinning weights [P, J] of points from the nearest body vertices."""
    index, weight = nearby(cKDTree(body), points, k=6, soft=2 * MM)
    return (weights[index] * weight[:, :, None]).sum(1)


def moving_weights(weights: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """SMPL's skinning weights [V, 24] gathered on MOVING [V, J]: a joint that is never bent moves like its parent."""
    group = np.zeros(len(parents), np.int64)
    for joint in range(1, len(parents)):
        group[joint] = MOVING.index(joint) if joint in MOVING else group[parents[joint]]
    return weights.astype(np.float64) @ np.eye(len(MOVING))[group]


def neighbour_mean(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """[V, V] matrix that averages the neighbours of every vertex (on an edge of the mesh too)."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    matrix = sparse.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count))
    return sparse.diags(1.0 / np.maximum(np.asarray(matrix.sum(1)).ravel(), 1.0)) @ matrix


def _boundary(faces: np.ndarray) -> np.ndarray:
    """Vertices on open edges."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])


def _drawn_body(mean: np.ndarray, faces: np.ndarray, face_mean: np.ndarray, face_faces: np.ndarray):
    """Indices of the drawn coarse vertices and their renumbered faces: above the picture's edge, not under the face."""
    under = _under_face(mean, face_mean, face_faces)
    covered = under > 36 * MM
    keep = (mean[faces, 1] > _LOWEST).any(1) & ~covered[faces].all(1)
    used, renumbered = np.unique(faces[keep], return_inverse=True)
    return used, renumbered.reshape(-1, 3)


def _under_face(points: np.ndarray, face_mean: np.ndarray, face_faces: np.ndarray) -> np.ndarray:
    """How far [P] inside the face's outer rim body points lie, 0 where the face does not cover them."""
    distance, near = cKDTree(face_mean).query(points)
    rim = face_mean[_boundary(face_faces)]
    rim = rim[_outer_rim(rim)]
    return np.where(distance < 16 * MM, cKDTree(rim).query(face_mean)[0][near], 0.0)


def _outer_rim(rim: np.ndarray) -> np.ndarray:
    """Open edges also border eyes and mouth; the outer rim is what lies far from the face's axis or behind."""
    front = (np.abs(rim[:, 0]) < 50 * MM) & (rim[:, 1] > -75 * MM) & (rim[:, 1] < 30 * MM)
    return ~front


class _Face(NamedTuple):
    """The refined face: what :class:`PersonTemplate` says of it."""

    mean: np.ndarray
    faces: np.ndarray
    levels: tuple[Subdivision, ...]
    interior: np.ndarray
    ear: np.ndarray
    rim: np.ndarray  # [F] inner edge of the lids


def _refined_face(face: FaceArrays) -> _Face:
    labels = face_regions()
    eyeball = labels["eye_white"] + labels["iris"] + labels["pupil"] > 0.5
    inside = (labels["mouth_interior"] + labels["teeth"]).astype(np.float64)
    mean = face.mean.astype(np.float64)
    faces = face.faces[~(eyeball | (inside > 0.5))[face.faces].all(1)]  # eyes.py draws these finer
    from_eye = np.sqrt(((np.abs(mean) * [1, 0, 0] + mean * [0, 1, 1] - EYE_CENTRE) ** 2).sum(1))
    rim = (from_eye < EYE_RADIUS + 0.4 * MM) & (labels["skin"] > 0.5)
    fields, levels = np.stack([inside, labels["ear"], rim], 1), []
    marks = mean[face.landmarks]
    for radius in (1.0, 0.62):  # twice where brows, eyes and lips are
        level, mean = _refine_curved(mean, faces, _detailed(mean, faces, marks, radius))
        fields, faces = level.apply(fields), level.faces
        levels.append(level)
    return _Face(mean, faces, tuple(levels), *fields.T)


@lru_cache(maxsize=1)
def person_template() -> PersonTemplate:
    """The template of the embedded assets (built once per process: about three seconds, always the same)."""
    arrays, face_arrays = embedded_body(), embedded_face()
    model = BodyModel(arrays, torch.as_tensor(head_shoulder_vertices(arrays))).double()
    with torch.no_grad():  # shape and neutral pose are linear in betas
        bodies = model.canonical_vertices(torch.cat([torch.zeros(1, 10), torch.eye(10)]).double()).numpy()
    mean = bodies[0]
    face = _refined_face(face_arrays)

    keep, faces = _drawn_body(mean, arrays.faces, face_arrays.mean, face_arrays.faces)
    curved, weights = mean[keep], moving_weights(arrays.lbs_weights[keep], arrays.parents)
    levels: list[Subdivision] = []
    flat = curved
    for low in (_LOWEST, -0.26):
        marked = curved[faces, 1].mean(1) > low
        if levels:  # the second time only where necks, collars and the edge of the hair show
            middle = curved[faces].mean(1)
            marked &= (middle[:, 1] < 0.01) & (np.abs(middle[:, 0]) < 0.17)
        level, curved = _refine_curved(curved, faces, marked)
        flat, weights, faces = level.apply(flat), level.apply(weights), level.faces
        levels.append(level)

    hidden = np.minimum(below_neckline(flat, 0.0), below_neckline(flat, 1.0)) > 9 * MM
    bare, bare_faces = np.unique(faces[~hidden[faces].all(1)], return_inverse=True)
    cloth, cloth_faces = np.unique(faces[(below_neckline(flat, 0.0) > -25 * MM)[faces].all(1)], return_inverse=True)
    bare_faces, cloth_faces = bare_faces.reshape(-1, 3), cloth_faces.reshape(-1, 3)
    points = np.concatenate([curved[bare], face.mean])
    normals = np.concatenate([vertex_normals(curved, faces)[bare], vertex_normals(face.mean, face.faces)])
    whole = np.concatenate([curved, face.mean])
    no_ear = np.concatenate([np.ones(len(curved), bool), face.ear < 0.01])
    no_mouth = np.concatenate([np.ones(len(curved), bool), face.interior < 0.5])
    roots = find_roots(
        whole[no_ear & no_mouth & (whole[:, 1] > -0.07) & (whole[:, 2] > -0.30)], np.array([0.0, 0.014, -0.080])
    )
    face_weights = near_weights(face.mean, curved, weights)
    scalp = np.nonzero(no_ear & no_mouth)[0]
    scalp = scalp[thin(whole[scalp], 5 * MM)]
    hair_topology, spread = hair_faces(), between_knots()
    shift = (bodies[1:] - mean)[:, keep].reshape(10, -1).T
    return PersonTemplate(
        body_model=model,
        body_mean=curved,
        body_betas=Displacement(shift, tuple(levels)),
        body_faces=faces,
        body_sums=face_sums(faces, len(flat)),
        body_weights=weights,
        bare=bare,
        bare_faces=bare_faces,
        cloth=cloth,
        cloth_faces=cloth_faces,
        cloth_sums=face_sums(cloth_faces, len(cloth)),
        neighbours=neighbour_mean(faces, len(flat)),
        face_mean=face.mean,
        face_id=Displacement(face_arrays.id_basis.astype(np.float64).reshape(-1, 80), face.levels),
        face_exp=Displacement(face_arrays.exp_basis.astype(np.float64).reshape(-1, 64), face.levels),
        face_faces=face.faces,
        face_sums=face_sums(face.faces, len(face.mean)),
        face_weights=face_weights,
        interior=face.interior,
        ear=face.ear,
        marks=face_arrays.landmarks,
        follow_id=follow_matrix(curved, face.mean, 65 * MM, 12 * MM),
        follow_exp=follow_matrix(curved[bare], face.mean, 45 * MM, 12 * MM),
        sink=3.5 * MM * smoothstep(3 * MM, 12 * MM, _under_face(curved[bare], face_arrays.mean, face_arrays.faces)),
        paint=measure(
            points, normals, face.mean[face_arrays.landmarks], np.concatenate([np.zeros(len(bare)), face.rim])
        ),
        roots=roots,
        polar=polar(points, roots.centre),
        scalp=Scalp(scalp, whole[scalp], cKDTree(whole[scalp]), np.concatenate([weights, face_weights])[scalp]),
        hair_faces=hair_topology,
        hair_sums=face_sums(hair_topology, spread.shape[0]),
        hair_spread=spread,
        probes=join_probes(
            [
                place_probes(curved[bare]),
                place_probes(face.mean, (face.interior == 0) & (face.rim == 0)),
                place_probes(curved[cloth]),
                Probes(KNOTS, spread),
            ]
        ),  # fmt: skip
        dome=dome_form(),
    )


def _detailed(points: np.ndarray, faces: np.ndarray, marks: np.ndarray, radius: float) -> np.ndarray:
    """Faces [F] bool near brows, eyes, lips and nostrils; ``radius`` scales the margin."""
    middle = points[faces].mean(1)
    features = np.concatenate([marks[17:27], marks[31:68]])
    return cKDTree(features).query(middle)[0] < 13 * MM * radius
