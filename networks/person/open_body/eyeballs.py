"""Eyeballs finer than the base mesh's, which are exact spheres of 72 vertices."""

import numpy as np
from scipy import sparse

from networks.person.open_body.parts import EYE, Piece
from networks.person.open_body.source import NUM_VERTICES, BaseMesh

LEFT_EYE, EYE_SEGMENTS = "helper-l-eye", 28
PUPIL_ANGLE, IRIS_ANGLE = np.radians(11.25), np.radians(22.5)  # from the gaze axis; rings of the eyeball
_EYE_ANGLES = np.radians([5.6, 11.25, 16.9, 22.5, 26, 30, 37, 45, 56, 67.5, 80, 95, 112.5])
_EYE_UV, _EYE_UV_RADIUS = (0.8458, 0.8712), 0.0857  # the eye's disc in the atlas, 180 degrees across


def eyeballs(mesh: BaseMesh) -> list[Piece]:
    """Left and right eyeball, rings about the gaze axis, open at the back.

    Their vertices are affine in the base mesh's, so an eyeball stays an ellipsoid however targets move it.
    """
    turn = np.linspace(0, 2 * np.pi, EYE_SEGMENTS, endpoint=False)
    angle = np.concatenate([[0.0], np.repeat(_EYE_ANGLES, EYE_SEGMENTS)])
    around = np.concatenate([[0.0], np.tile(turn, len(_EYE_ANGLES))])
    unit = np.column_stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)])
    coarse = np.unique(mesh.parts[LEFT_EYE].quads)
    points = mesh.points[coarse]
    centre = 0.5 * (points.min(0) + points.max(0))
    radius = np.linalg.norm(points - centre, axis=1)
    affine = np.column_stack([np.ones(len(coarse)), (points - centre) / radius[:, None]])
    matrix = np.column_stack([np.ones(len(unit)), unit]) @ np.linalg.pinv(affine)

    ring = np.arange(EYE_SEGMENTS) + 1
    following = np.roll(ring, -1)
    fans = [np.column_stack([np.zeros(EYE_SEGMENTS, int), ring, following])]
    for inner in range(len(_EYE_ANGLES) - 1):
        a, b = ring + inner * EYE_SEGMENTS, following + inner * EYE_SEGMENTS
        c, d = b + EYE_SEGMENTS, a + EYE_SEGMENTS
        fans += [np.column_stack([a, d, c]), np.column_stack([a, c, b])]
    faces = np.concatenate(fans)
    pieces = []
    for index, order, side in ((coarse, [0, 1, 2], 1.0), (mesh.twin[coarse], [0, 2, 1], -1.0)):
        rows = np.repeat(np.arange(len(unit)), len(coarse))
        columns = np.tile(index, len(unit))
        weights = sparse.csr_matrix((matrix.ravel(), (rows, columns)), shape=(len(unit), NUM_VERTICES))
        disc = np.array(_EYE_UV) + _EYE_UV_RADIUS * (angle / (np.pi / 2))[:, None] * np.column_stack(
            [side * np.cos(around), np.sin(around)]
        )
        pieces.append(Piece(EYE, weights, faces[:, order], faces[:, order], disc, angle))
    return pieces
