"""The embedded face: 3DMM arrays, 68 landmarks and labels for a drawer."""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from networks.embedded import face_layout, frames
from networks.embedded.face_expression import expression_basis
from networks.embedded.face_identity import identity_basis
from networks.embedded.face_parts import (
    EAR_PART,
    EYEBALL,
    IRIS_ANGLE,
    MOUTH,
    PUPIL_ANGLE,
    RIM,
    SKIN,
    FaceMesh,
    build_face_mesh,
)
from networks.embedded.head import EYE, MOUTH_HALF_WIDTH
from networks.embedded.sdf import smoothstep


class FaceParts(NamedTuple):
    """Arrays of the embedded face in upright metres, float64 (frames.to_canonical / to_tpose carry them on)."""

    points: np.ndarray  # [N, 3]
    id_basis: np.ndarray  # [N, 3, 80]
    exp_basis: np.ndarray  # [N, 3, 64]
    faces: np.ndarray  # [F, 3] int64
    landmarks: np.ndarray  # [68] int64


def _landmark_targets() -> np.ndarray:
    """Upright points [68, 3] (z NaN: wherever the face is, seen from the front), iBUG order, right side first."""
    jaw = np.array([
        (0.0765, 0.4440, 0.006), (0.0715, 0.4200, 0.018), (0.0700, 0.4030, 0.016), (0.0640, 0.3850, 0.024),
        (0.0540, 0.3690, 0.036), (0.0420, 0.3580, 0.054), (0.0290, 0.3500, 0.070), (0.0140, 0.3450, 0.084),
        (0.0, 0.3435, 0.090),
    ])  # fmt: skip
    brow = np.array([(0.0490, 0.4665), (0.0420, 0.4715), (0.0335, 0.4735), (0.0245, 0.4720), (0.0150, 0.4690)])
    t = np.array([0.999, 0.36, -0.36, -0.999])
    lid_x = EYE[0] + face_layout.EYE_HALF_WIDTH * t
    upper, lower = face_layout.lid_lines(lid_x)
    eye = np.column_stack([lid_x[[0, 1, 2, 3, 2, 1]], np.concatenate([upper, lower[[2, 1]]])])
    lip_x = MOUTH_HALF_WIDTH * np.array([0.999, 0.62, 0.24, 0.0])
    top, _, bottom = face_layout.lip_lines(lip_x)
    rows = [jaw * (-1, 1, 1), (jaw * 1.0)[7::-1]]
    nan = np.nan

    def flat(points):
        return np.column_stack([points, np.full(len(points), nan)])

    def mirrored(points):
        return points * (-1, 1)

    rows += [flat(mirrored(brow)), flat(brow[::-1])]
    rows.append(flat(np.array([(0.0, 0.4560), (0.0, 0.4430), (0.0, 0.4300), (0.0, 0.4160)])))
    rows.append(
        flat(np.array([(-0.0125, 0.4075), (-0.0065, 0.4060), (0.0, 0.4050), (0.0065, 0.4060), (0.0125, 0.4075)]))
    )
    rows += [flat(mirrored(eye)), flat(eye[[3, 2, 1, 0, 5, 4]])]
    outer_top = np.column_stack([lip_x, top])
    outer_low = np.column_stack([lip_x, bottom])[1:]
    rows.append(flat(np.concatenate([mirrored(outer_top), outer_top[2::-1], outer_low, mirrored(outer_low)[1::-1]])))
    inner_x = MOUTH_HALF_WIDTH * np.array([0.90, 0.40, 0.0])
    inner = np.column_stack([inner_x, face_layout.lip_lines(inner_x)[1]])
    rows.append(flat(np.concatenate([mirrored(inner), inner[1::-1], inner[1:], mirrored(inner)[1:2]])))
    return np.concatenate(rows)


def _landmarks(mesh: FaceMesh) -> np.ndarray:
    """Nearest skin vertices to the targets; eyes on lid margins, inner lips on the slit's right edge."""
    targets = _landmark_targets()
    out = np.zeros(68, dtype=np.int64)
    skin = mesh.part == SKIN
    front = skin & (mesh.points[:, 2] > 0.03)
    for rows, allowed, dims in (
        (range(0, 17), skin, 3),
        (range(17, 36), front & (mesh.margin == 0), 2),
        (range(36, 48), skin & (mesh.margin == 1), 2),
        (range(48, 60), front, 2),
        (range(60, 65), skin & (mesh.lip_side > 0), 2),
        (range(65, 68), skin & (mesh.lip_side < 0), 2),
    ):
        index = np.flatnonzero(allowed)
        chosen = list(rows)
        out[chosen] = index[cKDTree(mesh.points[index, :dims]).query(targets[chosen, :dims])[1]]
    return out


def build_face() -> FaceParts:
    """All arrays of the embedded face; deterministic."""
    mesh = build_face_mesh()
    return FaceParts(
        points=mesh.points,
        id_basis=identity_basis(mesh),
        exp_basis=expression_basis(mesh),
        faces=mesh.faces,
        landmarks=_landmarks(mesh),
    )


def face_template_tpose() -> np.ndarray:
    """The neutral face in the body's T-pose, [N, 3] float32 metres: it lies on the embedded body's head."""
    return frames.to_tpose(build_face_mesh().points).astype(np.float32)


def face_regions() -> dict[str, np.ndarray]:
    """Soft labels in 0..1 of the face's vertices, float32 [N] each.

    Keys: skin, upper_lip, lower_lip, brow_left, brow_right, lash_line, eye_white, iris, pupil, mouth_interior, teeth,
    ear. Eyeball and mouth labels exclude each other and skin; lips, brows and lash line lie on the skin.
    """
    mesh = build_face_mesh()
    p = mesh.points
    x, y = np.abs(p[:, 0]), p[:, 1]
    skin = np.isin(mesh.part, [SKIN, RIM])
    front = skin & (p[:, 2] > 0.06)
    lid_top, lid_low = face_layout.lid_lines(x)
    open_ = lid_top - lid_low > 1e-6
    lash = front * open_ * smoothstep(0.0016, 0.0003, np.abs(y - lid_top))
    ball, mouth = mesh.part == EYEBALL, mesh.part == MOUTH
    regions = {
        "skin": skin | (mesh.part == EAR_PART),
        "upper_lip": mesh.lip > 0,
        "lower_lip": mesh.lip < 0,
        "brow_left": mesh.brow * (p[:, 0] > 0),
        "brow_right": mesh.brow * (p[:, 0] < 0),
        "lash_line": lash,
        "eye_white": ball & (mesh.label > IRIS_ANGLE),
        "iris": ball & (mesh.label <= IRIS_ANGLE) & (mesh.label > PUPIL_ANGLE),
        "pupil": ball & (mesh.label <= PUPIL_ANGLE),
        "mouth_interior": mouth * (1.0 - mesh.label),
        "teeth": mouth * mesh.label,
        "ear": mesh.part == EAR_PART,
    }
    return {key: np.asarray(value, dtype=np.float32) for key, value in regions.items()}
