"""The embedded body: a smooth person in SMPL's array layout, made from the distance field of figure.py.

About 6,800 vertices, nearly half of them on head, neck and shoulders, 24 joints, 10 named shape directions.
"""

from typing import NamedTuple

import numpy as np

from networks.embedded import face_layout, figure, frames, mesh, sdf, shaping, skinning
from networks.embedded.head import CENTRE, EAR
from networks.embedded.sdf import smoothstep

_FACE_INSET = 0.0018  # metres the head lies inside the face mesh where that covers it


class BodyParts(NamedTuple):
    """Arrays of the embedded body, float64 (see body_assets.BodyArrays for the shapes)."""

    v_template: np.ndarray
    shapedirs: np.ndarray
    posedirs: np.ndarray
    J_regressor: np.ndarray
    lbs_weights: np.ndarray
    faces: np.ndarray


def _axis(knots, steps) -> np.ndarray:
    """Grid coordinates through `knots`, spaced about steps[i] between knots i and i + 1."""
    parts = [
        np.linspace(a, b, max(int(round((b - a) / s)), 1), endpoint=False)
        for a, b, s in zip(knots[:-1], knots[1:], steps, strict=True)
    ]
    return np.concatenate([*parts, [knots[-1]]])


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    half = _axis([0.007, 0.105, 0.240, 0.920], [0.0140, 0.0180, 0.040])
    x = np.concatenate([-half[::-1], half])
    y = _axis([-1.230, -1.060, 0.000, 0.170, 0.600], [0.030, 0.055, 0.022, 0.0140])
    z = _axis([-0.160, 0.150, 0.210], [0.0150, 0.025])
    return x, y, z


def _out_of_the_nose(vertices: np.ndarray) -> np.ndarray:
    """Carries vertices deep inside the face, where the net's cells are as wide as the nose, outwards to the surface.

    Newton's steps could leave them inside; along rays from head.CENTRE the way is clear (the head is star-shaped).
    """
    deep = figure.body_distance(vertices) < -0.001
    deep &= (np.abs(vertices[:, 0]) < 0.06) & (frames.to_upright(vertices)[:, 2] > 0.06)
    centre = frames.to_tpose(CENTRE)
    ray = vertices[deep] - centre
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    out = vertices.copy()
    out[deep] = centre + sdf.cast(figure.body_distance, centre, ray, 0.03, 0.13)[:, None] * ray
    return out


def _template() -> tuple[np.ndarray, np.ndarray]:
    x, y, z = _grid()
    half = x[len(x) // 2 :]
    points = np.stack(np.meshgrid(half, y, z, indexing="ij"), axis=-1).reshape(-1, 3)
    values = figure.body_distance(points).reshape(len(half), len(y), len(z))
    vertices, faces = mesh.surface_net(np.concatenate([values[::-1], values]), (x, y, z))
    upright = frames.to_upright(vertices[faces].mean(1))
    fine = (upright[:, 2] > 0.025) & (upright[:, 1] > 0.325) & (upright[:, 1] < 0.500)
    vertices, faces = mesh.split_faces(vertices, faces, fine)  # the features are smaller than the net's cells
    twin = mesh.mirror_index(vertices)
    vertices = _out_of_the_nose(vertices)
    average = mesh.neighbour_mean(faces, len(vertices))
    for _ in range(3):  # even the net out along the surface, then return to it
        move = average @ vertices - vertices
        normal = sdf.normals(figure.body_distance, vertices)
        move -= (move * normal).sum(1, keepdims=True) * normal
        vertices = sdf.project(figure.body_distance, vertices + 0.5 * move, steps=2)
        vertices = mesh.symmetrise(vertices, twin)
    vertices = vertices - _FACE_INSET * under_face(vertices)[:, None] * mesh.vertex_normals(vertices, faces)
    return mesh.symmetrise(vertices, twin), faces


def under_face(v: np.ndarray) -> np.ndarray:
    """How far a T-pose point lies under the face mesh, 0 (near its edge) to 1 (11 mm inside it), [V]."""
    p = frames.to_upright(v)
    inside = face_layout.edge_distance(face_layout.chart(p))
    out = np.zeros(len(p))
    near = np.flatnonzero((inside > 0) & (np.linalg.norm(p - CENTRE, axis=1) < 0.16))
    q = p[near]
    depth = np.linalg.norm(face_layout.surface(face_layout.chart(q)) - q, axis=1)
    ray = (q - CENTRE) / np.linalg.norm(q - CENTRE, axis=1, keepdims=True)
    # under the jaw rays graze the surface: measure depth along the normal; what lies far behind it is neck
    slant = np.abs((sdf.normals(figure.portrait_distance, q) * ray).sum(1))
    out[near] = smoothstep(0.003, 0.011, inside[near]) * smoothstep(0.010, 0.006, depth * slant) * (depth < 0.03)
    return out


def build_body() -> BodyParts:
    """All arrays, float64, metres; deterministic, mirror-symmetric in x."""
    v, faces = _template()
    weights = skinning.lbs_weights(v)
    return BodyParts(
        v_template=v,
        shapedirs=shaping.shapedirs(v, weights),
        posedirs=shaping.posedirs(v, weights),
        J_regressor=skinning.joint_regressor(v),
        lbs_weights=weights,
        faces=faces,
    )


def body_regions(v_template: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Soft labels in 0..1 of the embedded body's vertices, float32 [V] each.

    Keys: scalp (where hair grows), head, neck, ears, torso, arm_left, arm_right, hand, legs, under_face (covered by the
    face mesh; a drawer skips faces whose three vertices have it).
    """
    v = build_body().v_template if v_template is None else np.asarray(v_template, dtype=np.float64)
    weights = skinning.lbs_weights(v)
    p = frames.to_upright(v)
    p[:, 0] = np.abs(p[:, 0])
    x = p[:, 0]
    hairline = (
        0.515
        - 0.25 * smoothstep(0.02, 0.08, x) * (x - 0.02)
        - 1.0 * smoothstep(0.075, -0.03, p[:, 2]) * (0.075 - p[:, 2])
    )
    ears = np.exp(-((np.linalg.norm((p - EAR) * (1.0, 0.55, 1.0), axis=1) / 0.022) ** 2))
    hands = weights[:, 20:24].sum(1)
    regions = {
        "scalp": smoothstep(-0.008, 0.008, p[:, 1] - hairline) * weights[:, 15],
        "head": weights[:, 15],
        "neck": weights[:, 12],
        "ears": ears,
        "torso": weights[:, [0, 3, 6, 9, 13, 14]].sum(1),
        "arm_left": weights[:, [16, 18]].sum(1),
        "arm_right": weights[:, [17, 19]].sum(1),
        "hand": hands,
        "legs": weights[:, [1, 2, 4, 5, 7, 8, 10, 11]].sum(1),
        "under_face": under_face(v),
    }
    return {key: np.clip(value, 0.0, 1.0).astype(np.float32) for key, value in regions.items()}
