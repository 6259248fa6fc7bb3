"""What all synthetic people share: topology, skinning, paint fields and how the parts follow face and body."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from networks.body_assets import embedded_body, head_shoulder_vertices
from networks.body_model import HEAD, BodyModel
from networks.embedded.face import face_regions
from networks.embedded.frames import to_canonical
from networks.embedded.head import EYE
from networks.embedded.head import EYE_RADIUS as HEAD_EYE_RADIUS
from networks.face_model import embedded_face
from training.data.synthetic.clothes import below_neckline
from training.data.synthetic.hair import HairRoots, find_roots, hair_faces
from training.data.synthetic.mesh import Subdivision, smoothstep, subdivide, vertex_normals
from training.data.synthetic.paint import MM, FacePaint, measure

EYE_CENTRE = to_canonical(EYE)  # of the left eyeball
EYE_RADIUS = HEAD_EYE_RADIUS * MM * 1000
_LOWEST = -0.33  # canonical y below which nothing is in the picture


class PersonTemplate(NamedTuple):
    """Constants of the embedded body and face, refined for drawing; canonical units throughout."""

    body_model: BodyModel
    body_mean: np.ndarray  # [Vb, 3] coarse body, canonical pose, betas 0
    body_keep: np.ndarray  # [Vk] coarse vertices that are drawn
    body_levels: tuple[Subdivision, ...]
    body_relief: np.ndarray  # [B, 3] curved minus flat refinement
    body_faces: np.ndarray  # [Fb, 3]
    body_weights: np.ndarray  # [B, 24]
    bare: np.ndarray  # [S] refined body vertices that no shirt always hides
    bare_faces: np.ndarray  # [Fs, 3] into ``bare``
    cloth: np.ndarray  # [C] refined body vertices that carry the shirt
    cloth_faces: np.ndarray  # [Fc, 3] into ``cloth``
    neighbours: sparse.csr_matrix  # [B, B] mean of a refined body vertex's neighbours
    face_mean: np.ndarray  # [F, 3] refined face
    face_id: np.ndarray  # [F, 3, 80]
    face_exp: np.ndarray  # [F, 3, 64]
    face_faces: np.ndarray
    face_weights: np.ndarray  # [F, 24]
    interior: np.ndarray  # [F] 0..1 inside of the mouth
    ear: np.ndarray  # [F] 0..1
    marks: np.ndarray  # [68] landmark indices
    follow_id: sparse.csr_matrix  # [B, F] how the body's skin follows the face's identity
    follow_exp: sparse.csr_matrix  # [S, F] and its expression
    sink: np.ndarray  # [S] how far body skin is pulled in under the face
    paint: FacePaint  # on [S + F] skin vertices
    roots: HairRoots
    hair_faces: np.ndarray

    @property
    def body_flat_mean(self) -> np.ndarray:
        """Refined body of betas 0 [B, 3]."""
        return self.refine_body(self.body_mean)

    def refine_body(self, coarse: np.ndarray) -> np.ndarray:
        """Coarse canonical body [Vb, 3] -> refined, smooth [B, 3]."""
        fine = coarse[self.body_keep]
        for level in self.body_levels:
            fine = level.apply(fine)
        return fine + self.body_relief


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
    distance, index = cKDTree(sources).query(targets, k=8)
    weight = 1.0 / (distance + 1.0 * MM) ** 2
    weight /= weight.sum(1, keepdims=True)
    weight *= smoothstep(reach, core, distance[:, :1])
    rows = np.repeat(np.arange(len(targets)), 8)
    return sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), shape=(len(targets), len(sources)))


def near_weights(points: np.ndarray, body: np.ndarray, weights: np.ndarray, k: int = 4) -> np.ndarray:
    """Skinning weights [P, 24] of points from their ``k`` nearest body vertices."""
    distance, index = cKDTree(body).query(points, k=k)
    near = 1.0 / (distance + 2.0 * MM) ** 2
    near /= near.sum(1, keepdims=True)
    return (weights[index] * near[:, :, None]).sum(1)


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
    under = _depth_under_face(mean, face_mean, face_faces)
    covered = under > 36 * MM
    keep = (mean[faces, 1] > _LOWEST).any(1) & ~covered[faces].all(1)
    used, renumbered = np.unique(faces[keep], return_inverse=True)
    return used, renumbered.reshape(-1, 3)


def _depth_under_face(points: np.ndarray, face_mean: np.ndarray, face_faces: np.ndarray) -> np.ndarray:
    """How far [P] inside the face's outer rim body points lie, 0 where the face does not cover them."""
    distance, near = cKDTree(face_mean).query(points)
    rim = face_mean[_boundary(face_faces)]
    rim = rim[_outer_rim(rim)]
    return np.where(distance < 16 * MM, cKDTree(rim).query(face_mean)[0][near], 0.0)


def _outer_rim(rim: np.ndarray) -> np.ndarray:
    """Open edges also border eyes and mouth; the outer rim is what lies far from the face's axis or behind."""
    front = (np.abs(rim[:, 0]) < 50 * MM) & (rim[:, 1] > -75 * MM) & (rim[:, 1] < 30 * MM)
    return ~front


@lru_cache(maxsize=1)
def person_template() -> PersonTemplate:
    """The template of the embedded assets (built once per process: about two seconds, always the same)."""
    arrays, face = embedded_body(), embedded_face()
    model = BodyModel(arrays, torch.as_tensor(head_shoulder_vertices(arrays)))
    with torch.no_grad():
        mean = model.canonical_vertices(torch.zeros(1, 10))[0].numpy().astype(np.float64)

    labels = face_regions()
    eyeball = labels["eye_white"] + labels["iris"] + labels["pupil"] > 0.5
    inside = (labels["mouth_interior"] + labels["teeth"]).astype(np.float64)
    face_mean = face.mean.astype(np.float64)
    face_faces = face.faces[~(eyeball | (inside > 0.5))[face.faces].all(1)]  # eyes.py draws these finer
    from_eye = np.sqrt(((np.abs(face_mean) * [1, 0, 0] + face_mean * [0, 1, 1] - EYE_CENTRE) ** 2).sum(1))
    rim = (from_eye < EYE_RADIUS + 0.4 * MM) & (labels["skin"] > 0.5)
    extra = np.stack([inside, labels["ear"], rim], 1)
    basis = np.concatenate([face.id_basis, face.exp_basis, extra[:, :, None]], 2)
    marks = face_mean[face.landmarks]
    for radius in (1.0, 0.62):  # twice where brows, eyes and lips are
        level, face_mean = _refine_curved(face_mean, face_faces, _detailed(face_mean, face_faces, marks, radius))
        basis, face_faces = level.apply(basis), level.faces

    keep, faces = _drawn_body(mean, arrays.faces, face.mean, face.faces)
    flat = curved = mean[keep]
    weights, levels = arrays.lbs_weights[keep].astype(np.float64), []
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
    points = np.concatenate([curved[bare], face_mean])
    normals = np.concatenate([vertex_normals(curved, faces)[bare], vertex_normals(face_mean, face_faces)])
    skull = np.concatenate([curved, face_mean[(basis[:, 1, 144] < 0.5) & (basis[:, 0, 144] < 0.5)]])
    skull = skull[(skull[:, 1] > -0.07) & (skull[:, 2] > -0.30)]
    return PersonTemplate(
        body_model=model,
        body_mean=mean,
        body_keep=keep,
        body_levels=tuple(levels),
        body_relief=curved - flat,
        body_faces=faces,
        body_weights=weights,
        bare=bare,
        bare_faces=bare_faces.reshape(-1, 3),
        cloth=cloth,
        cloth_faces=cloth_faces.reshape(-1, 3),
        neighbours=neighbour_mean(faces, len(flat)),
        face_mean=face_mean,
        face_id=basis[:, :, :80],
        face_exp=basis[:, :, 80:144],
        face_faces=face_faces,
        face_weights=near_weights(
            face_mean, np.concatenate([mean, curved[bare]]), np.concatenate([arrays.lbs_weights, weights[bare]])
        ),
        interior=basis[:, 0, 144],
        ear=basis[:, 1, 144],
        marks=face.landmarks,
        follow_id=follow_matrix(curved, face_mean, 65 * MM, 12 * MM),
        follow_exp=follow_matrix(curved[bare], face_mean, 45 * MM, 12 * MM),
        sink=3.5 * MM * smoothstep(3 * MM, 12 * MM, _depth_under_face(curved[bare], face.mean, face.faces)),
        paint=measure(points, normals, marks, np.concatenate([np.zeros(len(bare)), basis[:, 2, 144]])),
        roots=find_roots(skull, np.array([0.0, 0.014, -0.080])),
        hair_faces=hair_faces(),
    )


def _detailed(points: np.ndarray, faces: np.ndarray, marks: np.ndarray, radius: float) -> np.ndarray:
    """Faces [F] bool near brows, eyes, lips and nostrils; ``radius`` scales the margin."""
    middle = points[faces].mean(1)
    features = np.concatenate([marks[17:27], marks[31:68]])
    return cKDTree(features).query(middle)[0] < 13 * MM * radius


def head_only(count: int) -> np.ndarray:
    """Skinning weights [count, 24] of what is fixed to the skull."""
    weights = np.zeros((count, 24))
    weights[:, HEAD] = 1.0
    return weights
