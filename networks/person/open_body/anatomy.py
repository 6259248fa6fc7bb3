"""The kept part of the base mesh: which vertices, faces and labels, and how its bones become SMPL's joints."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from networks.person.open_body.eyeballs import eyeballs
from networks.person.open_body.parts import HAIR, LASH, SHIRT, SKIN, TEETH, TONGUE, Piece
from networks.person.open_body.source import NUM_VERTICES, BaseMesh, Package, Part

_OBJECTS = {
    TEETH: ("helper-upper-teeth", "helper-lower-teeth"),
    TONGUE: ("helper-tongue",),
    LASH: ("helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2"),
    HAIR: ("helper-hair",),
    SHIRT: ("helper-tights",),
}
LOWEST = 0.13  # metres in the base mesh: the waist; what lies lower is left out, and so are hands
# Nothing undressed is in the file: lower than this on the trunk there is no skin but the shirt.
NECKLINE, TRUNK = 0.44, [0, 3, 6, 9]
# SMPL joint -> the bone at its place; bones without a joint of their own follow their parent.
JOINT_BONES = {
    0: "root", 1: "upperleg01.L", 2: "upperleg01.R", 3: "spine04", 4: "lowerleg01.L", 5: "lowerleg01.R", 6: "spine03",
    7: "foot.L", 8: "foot.R", 9: "spine02", 10: "toe1-1.L", 11: "toe1-1.R", 12: "neck01", 13: "clavicle.L",
    14: "clavicle.R", 15: "head", 16: "upperarm01.L", 17: "upperarm01.R", 18: "lowerarm01.L", 19: "lowerarm01.R",
    20: "wrist.L", 21: "wrist.R", 22: "metacarpal2.L", 23: "metacarpal2.R",
}  # fmt: skip

# Base-mesh vertices of the landmarks on the left and in the middle; the right ones are their mirror images.
LANDMARKS = {
    "jaw": (12366, 12332, 11712, 7574, 11850, 7457, 10366, 11899, 5225),  # ear to chin
    "brow": (6983, 6997, 6996, 6998, 7024),  # outwards
    "bridge": (136, 135, 164, 5134),  # down
    "nostrils": (317, 7076, 7087),  # outwards
    "eye": (6850, 6838, 6784, 13354, 13372, 13368),  # inner corner, over the upper lid, outer corner, back below
    "upper_lip": (455, 7116, 11956, 10403),  # middle to corner
    "lower_lip": (7166, 11940, 5337),  # from the corner to the middle
    "inner_upper": (468, 7227, 7247),  # middle to corner
    "inner_lower": (7242, 493),  # to the middle
}


class Anatomy(NamedTuple):
    """V kept vertices, by part; F triangles."""

    from_base: sparse.csr_matrix  # [V, 19158] kept vertices as sums of the base mesh's
    part: np.ndarray  # [V] SKIN .. SHIRT
    faces: np.ndarray  # [F, 3]
    face_uv: np.ndarray  # [F, 3] rows of ``uv``
    uv: np.ndarray  # [T, 2]
    twin: np.ndarray  # [V] mirror images
    weights: np.ndarray  # [V, 24] skinning by SMPL's joints
    eye_angle: np.ndarray  # [V] radians from the gaze axis, on eyeballs
    to_joints: sparse.csr_matrix  # [24, 19158] joints as means of base-mesh vertices


def joint_of_bones(package: Package) -> dict[str, int]:
    """Bone -> the SMPL joint it moves with."""
    own = {bone: joint for joint, bone in JOINT_BONES.items()}
    found = {}
    for bone in package.bones:
        at = bone
        while at not in own:
            at = package.bones[at][0]
        found[bone] = own[at]
    return found


def merged_weights(package: Package) -> np.ndarray:
    """[19158, 24] skinning weights; rows sum to 1."""
    out = np.zeros((NUM_VERTICES, 24))
    joints = joint_of_bones(package)
    for bone, (index, weight) in package.weights.items():
        np.add.at(out[:, joints[bone]], index, weight)
    return out / np.maximum(out.sum(1, keepdims=True), 1e-12)


def read_anatomy(package: Package) -> Anatomy:
    """The upper body of the base mesh with eyes, teeth, tongue, lashes, and the layers for hair and shirt."""
    mesh, weights = package.mesh, merged_weights(package)
    dropped = (mesh.points[:, 1] < LOWEST) | (weights[:, 20:24].sum(1) > 0)
    covered = (mesh.points[:, 1] < NECKLINE) & (weights[:, TRUNK].sum(1) > 0.5)
    pieces = [_kept_piece(mesh, SKIN, mesh.parts["body"], dropped | covered), *eyeballs(mesh)]
    for label, names in _OBJECTS.items():
        objects = [mesh.parts[name] for name in names]
        joined = Part(*(np.concatenate(arrays) for arrays in zip(*objects, strict=True)))
        pieces.append(_kept_piece(mesh, label, joined, dropped if label == SHIRT else np.zeros_like(dropped)))
    first = np.cumsum([0, *(piece.from_base.shape[0] for piece in pieces)])
    first_uv = np.cumsum([0, *(len(piece.uv) for piece in pieces)])
    from_base = sparse.vstack([piece.from_base for piece in pieces]).tocsr()
    part = np.concatenate([np.full(piece.from_base.shape[0], piece.part) for piece in pieces])
    faces = np.concatenate([piece.faces + n for piece, n in zip(pieces, first[:-1], strict=True)])
    twin = _twins(from_base, mesh)
    return Anatomy(
        from_base=from_base,
        part=part,
        faces=faces,
        face_uv=np.concatenate([piece.face_uv + n for piece, n in zip(pieces, first_uv[:-1], strict=True)]),
        uv=np.concatenate([piece.uv for piece in pieces]),
        twin=twin,
        weights=from_base @ weights,
        eye_angle=np.concatenate([piece.eye_angle for piece in pieces]),
        to_joints=_rows([package.bones[JOINT_BONES[joint]][1] for joint in range(24)]),
    )


def _rows(groups: list[np.ndarray]) -> sparse.csr_matrix:
    """[G, 19158] means of base-mesh vertices."""
    row = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    values = 1.0 / np.repeat([len(group) for group in groups], [len(group) for group in groups])
    return sparse.csr_matrix((values, (row, np.concatenate(groups))), shape=(len(groups), NUM_VERTICES))


def _kept_piece(mesh: BaseMesh, label: int, part: Part, dropped: np.ndarray) -> Piece:
    """The triangles of a part whose vertices are not ``dropped`` [19158] bool."""
    keep = ~dropped[part.quads].any(1)
    triangles, texels = _triangles(mesh.points, part.quads[keep], part.texels[keep])
    kept, faces = np.unique(triangles, return_inverse=True)
    used, face_uv = np.unique(texels, return_inverse=True)
    identity = sparse.identity(NUM_VERTICES, format="csr")[kept]
    return Piece(label, identity, faces.reshape(-1, 3), face_uv.reshape(-1, 3), mesh.uv[used], np.zeros(len(kept)))


def _triangles(points: np.ndarray, quads: np.ndarray, texels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quads split along their shorter diagonal."""
    first = np.linalg.norm(points[quads[:, 0]] - points[quads[:, 2]], axis=1)
    other = np.linalg.norm(points[quads[:, 1]] - points[quads[:, 3]], axis=1)
    turned = other < first - 1e-9

    def split(corners: np.ndarray) -> np.ndarray:
        corners = np.where(turned[:, None], np.roll(corners, -1, 1), corners)
        return np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])

    return split(quads), split(texels)


def landmark_vertices(from_base: sparse.csr_matrix, mesh: BaseMesh) -> np.ndarray:
    """The 68 landmarks [68] among the kept vertices, iBUG order (jaw 0-16 from the person's right ear)."""
    place = {int(from_base.indices[row]): v for v, row in enumerate(from_base.indptr[:-1])}

    def left(name: str) -> list[int]:
        return [place[v] for v in LANDMARKS[name]]

    def right(name: str) -> list[int]:
        return [place[int(mesh.twin[v])] for v in LANDMARKS[name]]

    eye, far_eye, upper, lower = left("eye"), right("eye"), left("upper_lip"), left("lower_lip")
    inner, below = left("inner_upper"), left("inner_lower")
    rows = [
        right("jaw"), left("jaw")[7::-1], right("brow")[::-1], left("brow"), left("bridge"), right("nostrils")[:0:-1],
        left("nostrils"), [far_eye[k] for k in (3, 2, 1, 0, 5, 4)], eye, right("upper_lip")[:0:-1], upper, lower,
        right("lower_lip")[-2::-1], right("inner_upper")[:0:-1], inner, below, right("inner_lower")[-2::-1],
    ]  # fmt: skip
    return np.array([vertex for row in rows for vertex in row])


def _twins(from_base: sparse.csr_matrix, mesh: BaseMesh) -> np.ndarray:
    """Every kept vertex' mirror image: the one made of the mirror images of what it is made of."""
    row = {tuple(sorted(_entries(from_base, v))): v for v in range(from_base.shape[0])}
    return np.array([
        row[tuple(sorted((int(mesh.twin[i]), w) for i, w in _entries(from_base, v)))] for v in range(from_base.shape[0])
    ])  # fmt: skip


def _entries(matrix: sparse.csr_matrix, row: int) -> list[tuple[int, float]]:
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return list(zip(matrix.indices[span].tolist(), matrix.data[span].tolist(), strict=True))
