"""What D^e is fitted to: displacements of the embedded face model, and expressions to draw them for."""

from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from networks.embedded.face import face_regions
from networks.face_model import FaceArrays
from training.data.synthetic import sample_expression
from training.data.synthetic.sampling import BLINK, LEFT_LID, NUM_NAMED, RIGHT_LID

LID_DIRECTIONS = (LEFT_LID, RIGHT_LID, BLINK)  # of the embedded face's expressions
# A closed lid takes its colour this much farther from the neutral lid's edge than the 3DMM says, and so does the skin
# below it: the demo's maps are too coarse to tell the edge of a lid from the eye beside it. Canonical units.
LID_MARGIN, BELOW_LID = 0.0045, 0.007
# Landmarks along the edge, by the direction that closes it.
LOWER_LIDS = {LEFT_LID: (42, 47, 46, 45), RIGHT_LID: (36, 41, 40, 39)}
BLINK_CLOSED = 0.8  # the direction that closes both lids does so earlier than 1
# The 3DMM moves what lies this near to it, canonical units.
EXPRESSION_REACH = 0.03


class ExpressionTargets:
    """Where points of the expressive face come from in the neutral one (paper eq. 10).

    A point on the 3DMM goes back by -B_exp z_exp. Eyeballs and the inside of the mouth take no part: closing lids
    pass before the eye, and the gap of an open mouth comes from the dark line between the neutral lips, into which
    pairs of vertices on either side of that line are joined.
    """

    def __init__(self, face: FaceArrays, seed: int):
        regions = face_regions()
        hidden = sum(regions[name] for name in ("eye_white", "iris", "pupil", "mouth_interior", "teeth")) > 0.5
        self.rng = np.random.default_rng(seed)
        self.mean, self.id_basis, self.exp_basis = face.mean, face.id_basis, face.exp_basis
        self.outer = np.flatnonzero(~hidden)
        pairs = cKDTree(face.mean).query_pairs(1e-6, output_type="ndarray")
        moved = np.abs(face.exp_basis[pairs[:, 0]] - face.exp_basis[pairs[:, 1]]).max((1, 2))
        self.lips = pairs[moved > 1e-5]  # coincident in the neutral face, apart in an open mouth
        # Where to sample: lids, which move far in a small place, as often as all other moving parts together.
        basis = np.linalg.norm(face.exp_basis[self.outer].astype(np.float64), axis=1)  # [O, 64]
        lids, others = basis[:, LID_DIRECTIONS].max(1), basis[:, :NUM_NAMED].max(1)
        parts = (lids, others, np.ones(len(others)))
        self.weights = sum(share * part / part.sum() for share, part in zip((0.4, 0.4, 0.2), parts, strict=True))
        self.lid_margins = np.stack([self._lid_margin(face, *lid) for lid in LOWER_LIDS.items()], -1)  # [V, 2]

    @staticmethod
    def _lid_margin(face: FaceArrays, direction: int, lower_lid: tuple[int, ...]) -> np.ndarray:
        """How far [V] up (negative: down) the colours of a closed lid and of the skin below it are taken from."""
        moved = np.linalg.norm(face.exp_basis[:, :, direction], axis=1)
        upper = moved / moved.max()
        line = face.mean[face.landmarks[list(lower_lid)]]
        edge = np.concatenate([np.linspace(a, b, 12) for a, b in pairwise(line)])
        distance, _ = cKDTree(edge).query(face.mean)
        return LID_MARGIN * (upper - (1 - upper) ** 2 * np.exp(-((distance / BELOW_LID) ** 2)))

    def sample(self, z_id: np.ndarray, z_exp: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """z_id [80], z_exp [64] -> points [count, 3] of the expressive face and their displacements [count, 3]."""
        n_lips, n_far = count // 8, count // 8
        index = self.rng.choice(self.outer, count - n_lips - n_far, p=self.weights)
        neutral = self.mean[index] + self.id_basis[index] @ z_id
        move = self.exp_basis[index] @ z_exp
        source = -move  # where the colour comes from, seen from where it goes
        closed = np.clip([-z_exp[lid] - z_exp[BLINK] / BLINK_CLOSED for lid in LOWER_LIDS], 0, 1)
        source[:, 1] += self.lid_margins[index] @ closed
        # Off the surface the displacement stays and fades, so that rays on their way in are bent early and gently.
        away = self.rng.standard_normal((len(index), 1)) * self.rng.choice([0.002, 0.006, 0.015], (len(index), 1))
        jitter = away * np.array([0.15, 0.15, 1.0]) * self.rng.choice([-1.0, 1.0], (len(index), 3))
        fade = np.exp(-((np.linalg.norm(jitter, axis=1, keepdims=True) / EXPRESSION_REACH) ** 2))
        points, targets = [neutral + move + jitter], [source * fade]

        pair = self.lips[self.rng.integers(len(self.lips), size=n_lips)]
        t = self.rng.random((n_lips, 1, 1)) ** 0.7
        neutral_pair = self.mean[pair] + self.id_basis[pair] @ z_id  # [n, 2, 3]
        moved_pair = neutral_pair + self.exp_basis[pair] @ z_exp
        depth = self.rng.standard_normal((n_lips, 3)) * np.array([0.0, 0.0, 0.004])
        joined = [(1 - t[:, 0]) * both[:, 0] + t[:, 0] * both[:, 1] for both in (moved_pair, neutral_pair)]
        points.append(joined[0] + depth)
        targets.append(joined[1] - joined[0])

        far = self.rng.uniform((-0.2, -0.25, -0.2), (0.2, 0.2, 0.1), (n_far, 3))
        reach = np.linalg.norm(far - np.array([0.0, -0.03, -0.03]), axis=1, keepdims=True) > 0.12
        points.append(far[reach[:, 0]])
        targets.append(np.zeros((reach.sum(), 3)))
        points, targets = np.concatenate(points), np.concatenate(targets)
        wrap = np.arange(count) % len(points)
        return points[wrap].astype(np.float32), targets[wrap].astype(np.float32)


def spread_expression(rng: np.random.Generator) -> np.ndarray:
    """An expression of the prior, now and then neutral or exaggerated, so that keyframes outside it behave too."""
    expression = sample_expression(rng)
    if rng.random() < 0.1:
        expression = np.zeros_like(expression)
    if rng.random() < 0.25:
        expression[rng.integers(NUM_NAMED)] += rng.uniform(-1.2, 1.2)
    if rng.random() < 0.4:
        expression[rng.choice(LID_DIRECTIONS)] -= rng.uniform(0.2, 1.0)
    return expression.astype(np.float32)
