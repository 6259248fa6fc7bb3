"""Where faces and bodies are in a picture: single-shot detectors and their anchors (BlazeFace, BlazePose)."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.special import expit

from networks.person.tracker.crops import Region, around, cut, direction, whole
from networks.person.tracker.model_files import Model

_OVERLAP = 0.3  # of two boxes, intersection over union, from which on they are the same face


class Detection(NamedTuple):
    """Something found. Pixels whose centres are the integers."""

    score: float  # 0..1
    box: np.ndarray  # [4] left, top, right, bottom; of a body: of its face
    points: np.ndarray  # [K, 2] of a face: right eye, left eye, nose, mouth, right ear, left ear;
    # of a body: middle of the hips, a point on the circle around it all, middle of the shoulders, one on their circle

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def size(self) -> float:
        return float((self.box[2:] - self.box[:2]).max())


class Detector:
    """One detector.

    Args:
        name: of its file.
        layers: (stride in pixels, anchors in a cell) for each of its grids.
        low: what black is; white is 1.
        least: score that counts.
    """

    def __init__(self, name: str, layers: tuple[tuple[int, int], ...], low: float, least: float) -> None:
        self._model, self._low, self._least = Model(name), low, least
        self._size = self._model.size[0]
        self._anchors = np.concatenate([_grid(self._size // stride, count) for stride, count in layers])

    def __call__(self, picture: Image.Image) -> list[Detection]:
        """All that is found in an RGB picture, the surest first."""
        region = whole(picture.size)
        pixels = cut(picture, region, self._size) * np.float32((1 - self._low) / 255) + np.float32(self._low)
        values, logits = self._model(pixels)
        scores = expit(logits[:, 0])
        kept = np.flatnonzero(scores >= self._least)
        kept = kept[np.argsort(-scores[kept], kind="stable")]
        centres = self._anchors[kept, None]
        values = values.reshape(len(values), -1, 2)[kept] / self._size  # centre, size, points
        corners = centres + values[:, :1] + values[:, 1:2] * np.array([-0.5, 0.5])[:, None]  # [N, 2, 2]
        places = np.concatenate([corners, centres + values[:, 2:]], 1)
        found = [region.to_picture(place) for place in places]
        return distinct([Detection(float(scores[i]), p[:2].ravel(), p[2:]) for i, p in zip(kept, found, strict=True)])


def face_detectors() -> tuple[Detector, Detector]:
    """For faces near by, then for those farther off."""
    return (
        Detector("face_detection_short_range", ((8, 2), (16, 6)), -1.0, 0.5),
        Detector("face_detection_full_range_sparse", ((4, 1),), -1.0, 0.6),
    )


def body_detector() -> Detector:
    """For people who show at least head and shoulders."""
    return Detector("pose_detection", ((8, 2), (16, 2), (32, 6)), -1.0, 0.5)


def face_region(face: Detection) -> Region:
    """What the landmarks of a face are looked for in."""
    corners = face.box[[[0, 1], [2, 1], [0, 3], [2, 3]]]
    size = 1.5 * face.size
    return around(corners, direction(face.points[0], face.points[1]), 1.0)._replace(size=size)


def body_region(hips: np.ndarray, above: np.ndarray) -> Region:
    """What the landmarks of a body are looked for in: a circle around the hips, ``above`` on it, over the head."""
    return Region(hips, 2.5 * float(np.linalg.norm(above - hips)), direction(hips, above) + np.pi / 2)


def distinct(found: list[Detection]) -> list[Detection]:
    """Without those that overlap a surer one: boxes of one thing, which are averaged by their scores."""
    left, out = sorted(found, key=lambda one: -one.score), []
    while left:
        overlaps = [1.0, *(_overlap(left[0].box, one.box) for one in left[1:])]
        same = [one for one, overlap in zip(left, overlaps, strict=True) if overlap > _OVERLAP]
        weights = np.array([one.score for one in same])
        box, points = (
            np.average(np.stack(values), axis=0, weights=weights).astype(np.float32)
            for values in ([one.box for one in same], [one.points for one in same])
        )
        out.append(Detection(left[0].score, box, points))
        left = [one for one, overlap in zip(left, overlaps, strict=True) if overlap <= _OVERLAP]
    return out


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    both = float(sides.prod())
    return both / max(float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - both, 1e-9)


def _grid(cells: int, count: int) -> np.ndarray:
    """Centres [cells^2 * count, 2] of a grid's cells, 0..1, row by row, each ``count`` times."""
    y, x = np.mgrid[:cells, :cells]
    return np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells, count, 0)
