"""From drawn people to shape directions: what belongs to the head, what to the body, and SMPL's T-pose."""

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from networks.person.body_model import HEAD, MEAN_POSE, NECK
from networks.person.open_body.anatomy import Anatomy
from networks.person.open_body.parts import EYE, SKIN

# Where the mean adult's eyes lie from the neck joint in SMPL's canonical pose, metres: there the cameras expect a face.
EYES_FROM_NECK = np.array([0.0, 0.164, 0.093])
NECK_PLACE = np.array([0.0, 0.288, -0.015])  # SMPL's neck joint, metres
ARMS_LOWERED = 0.17  # radians from the base mesh's arms to those of the canonical pose
WITH = {HEAD: (HEAD,), 16: (16, 18, 20, 22), 17: (17, 19, 21, 23)}  # joint -> what it carries with it
JOINT_TWIN = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
REFLECT = np.array([-1.0, 1.0, 1.0])
NECK_LENGTH = 0.11  # metres above the neck joint over which people's necks go over from body to head


class Drawn(NamedTuple):
    """People in the base mesh's pose = mean + head + body; metres, the neck joint at SMPL's place."""

    mean: np.ndarray  # [V, 3]
    joints: np.ndarray  # [24, 3] of the mean
    share: np.ndarray  # [V] 1 on the head, 0 below the neck
    head: np.ndarray  # [P, V, 3]
    body: np.ndarray  # [P, V, 3]
    joint_moves: np.ndarray  # [P, 24, 3] that go with ``body``


def take_apart(
    anatomy: Anatomy, base: np.ndarray, joints: np.ndarray, moves: np.ndarray, joint_moves: np.ndarray
) -> Drawn:
    """Everyone's head keeps its place (that of its skin on average) and so does the neck joint.

    How far a person's trunk carries the head up, and the neck forward, is left out: the method's cameras hold on to the
    neck joint and look at the face, and a morphable face knows nothing of the trunk.

    Args:
        base: [V, 3] base mesh, with its ``joints`` [24, 3].
        moves: [P, V, 3] of the drawn people from it, with those of the joints, ``joint_moves`` [P, 24, 3].
    """
    mean, joint_mean = base + moves.mean(0, dtype=np.float64), joints + joint_moves.mean(0)
    moves, joint_moves = moves - (mean - base).astype(moves.dtype), joint_moves - joint_moves.mean(0)
    mean = 0.5 * (mean + mean[anatomy.twin] * REFLECT)
    joint_mean = 0.5 * (joint_mean + joint_mean[JOINT_TWIN] * REFLECT)
    joint_mean[NECK] = mean[anatomy.part == EYE].mean(0) - EYES_FROM_NECK
    shift = NECK_PLACE - joint_mean[NECK]
    mean, joint_mean = mean + shift, joint_mean + shift

    height = np.clip((mean[:, 1] - NECK_PLACE[1]) / NECK_LENGTH, 0, 1)
    share = anatomy.weights[:, HEAD] + anatomy.weights[:, NECK] * height * height * (3 - 2 * height)
    part = share[:, None].astype(moves.dtype)
    head = part * (moves - moves[:, (share > 0.999) & (anatomy.part == SKIN)].mean(1, keepdims=True))
    with_neck = joint_moves[:, NECK, None].copy()
    body = (1 - part) * (moves - with_neck.astype(moves.dtype))
    joint_moves = joint_moves - with_neck
    joint_moves[:, HEAD] = 0
    return Drawn(mean, joint_mean, share, head, body, joint_moves)


def to_canonical_pose(points: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Points [V, 3] in the base mesh's pose -> the canonical one: arms are lowered by skinning, as Anny would.

    Args:
        joints: [24, 3] in the base mesh's pose.
        weights: [V, 24].
    """
    turn, shift = _blended({16: (-ARMS_LOWERED, 0, 0), 17: (ARMS_LOWERED, 0, 0)}, joints, weights)
    return np.einsum("vmn,vn->vm", turn, points) + shift


def to_tpose(points: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same -> SMPL's T-pose, from which skinning leads to the canonical pose exactly."""
    turn, shift = _blended({joint: MEAN_POSE[joint - NECK] for joint in (HEAD, 16, 17)}, joints, weights)
    return np.linalg.solve(turn, (to_canonical_pose(points, joints, weights) - shift)[..., None])[..., 0]


def _blended(
    eulers: dict[int, tuple[float, float, float]], joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Skinning [V, 3, 3] and [V, 3] when head or arms turn about their joints, which keep their places."""
    transforms = np.tile(np.eye(4)[:3], (24, 1, 1))
    for joint, angles in eulers.items():
        turn, pivot = Rotation.from_euler("ZYX", angles).as_matrix(), joints[joint]
        transforms[list(WITH[joint])] = np.column_stack([turn, pivot - turn @ pivot])
    blended = np.einsum("vj,jmn->vmn", weights, transforms)
    return blended[..., :3], blended[..., 3]


def tpose_moves(drawn: Drawn, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How bodies [P, V, 3] and their joints [P, 24, 3] differ from the mean's in the T-pose."""
    rigid = np.eye(24)
    mean, joint_mean = to_tpose(drawn.mean, drawn.joints, weights), to_tpose(drawn.joints, drawn.joints, rigid)
    moves, joint_moves = np.empty_like(drawn.body), np.empty_like(drawn.joint_moves)
    for person, (body, joint) in enumerate(zip(drawn.body, drawn.joints + drawn.joint_moves, strict=True)):
        moves[person] = to_tpose(drawn.mean + body, joint, weights) - mean
        joint_moves[person] = to_tpose(joint, joint, rigid) - joint_mean
    return moves, joint_moves


class Directions(NamedTuple):
    """Principal directions; the people score them with mean 0 and standard deviation 1."""

    basis: np.ndarray  # [V, 3, K]
    signs: np.ndarray  # [K] 1: the mirror image of a direction is itself, -1: its opposite
    scores: np.ndarray  # [P, K]
    explained: np.ndarray  # [K] share of the variance within the first k


def principal_directions(moves: np.ndarray, twin: np.ndarray, counted: np.ndarray, number: int) -> Directions:
    """PCA of people and of their mirror images: every direction is exactly symmetric or exactly antisymmetric.

    Args:
        moves: [P, V, 3] from the mean.
        twin: [V] mirror images.
        counted: [V] bool, the vertices whose variance counts; the others follow.
        number: of directions.
    """
    found, people = [], len(moves)
    seen, mirrored = moves[:, counted], moves[:, twin[counted]] * REFLECT.astype(moves.dtype)
    for sign in (1, -1):
        half = (0.5 * (seen + sign * mirrored)).reshape(people, -1).astype(np.float64)
        variance, vectors = np.linalg.eigh(half @ half.T / people)
        found += [(variance[k], sign, vectors[:, k] * np.sqrt(people)) for k in range(people)]
    total = sum(variance for variance, _, _ in found)
    best = sorted(found, key=lambda item: -item[0])[:number]
    variances, signs = (np.array([item[i] for item in best], dtype=np.float64) for i in (0, 1))
    scores = np.stack([item[2] for item in best], 1)
    basis = np.tensordot(moves, scores / people, (0, 0))
    basis = 0.5 * (basis + signs * basis[twin] * REFLECT[:, None])
    turn = _signs(basis[counted])
    return Directions(basis * turn, signs, scores * turn, np.cumsum(variances) / total)


def _signs(basis: np.ndarray) -> np.ndarray:
    """[K] +-1 that make a weighted sum of a direction's coordinates positive: one of the two, always the same."""
    flat = basis.reshape(-1, basis.shape[2])
    return np.where(np.linspace(1, 2, len(flat)) @ flat < 0, -1.0, 1.0)


def joint_regressor(
    template: np.ndarray, shapedirs: np.ndarray, joints: np.ndarray, joint_dirs: np.ndarray, near: int = 160
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [24, near] and weights that give each joint exactly, for every shape.

    Of the weights of the ``near`` nearest vertices that do so, the least ones.

    Args:
        template: [V, 3]; ``shapedirs`` [V, 3, K].
        joints: [24, 3]; ``joint_dirs`` [24, 3, K].
    """
    index, weights = [], []
    for joint, moves in zip(joints, joint_dirs, strict=True):
        used = np.argsort(np.linalg.norm(template - joint, axis=1), kind="stable")[:near]
        rows = np.concatenate([template[used, :, None] - joint[:, None], shapedirs[used]], 2).reshape(near, -1).T
        rows = np.concatenate([np.ones((1, near)), rows])
        target = np.concatenate([[1.0], np.column_stack([np.zeros(3), moves]).ravel()])
        index.append(used)
        weights.append(np.linalg.lstsq(rows, target, rcond=None)[0])
    return np.stack(index), np.stack(weights)
