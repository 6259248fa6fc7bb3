"""Parts of the mesh, and what one of them is before they are joined."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

# Labels of vertices, in the order in which they are kept. All but HAIR, a guide for long hair, are the body.
SKIN, EYE, TEETH, TONGUE, LASH, HAIR, SHIRT = range(7)
PART_NAMES = ("skin", "eye", "teeth", "tongue", "lash", "hair", "shirt")
# Soft labels of the skin.
LABEL_NAMES = ("lips", "eyelids", "ears", "face", "mouth_inside", "eye_socket")
# SMPL's joint tree.
PARENTS = np.array([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21], dtype=np.int64)


class Piece(NamedTuple):
    """Vertices and faces of one part, on their own."""

    part: int
    from_base: sparse.csr_matrix
    faces: np.ndarray
    face_uv: np.ndarray
    uv: np.ndarray
    eye_angle: np.ndarray
