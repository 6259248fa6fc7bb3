"""Landmarks of a face and of a body in a region of a picture (MediaPipe's face mesh, iris and BlazePose)."""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.special import expit

from networks.person.tracker.crops import Region, around, cut, direction
from networks.person.tracker.detection import body_region
from networks.person.tracker.model_files import Model

NUM_FACE, NUM_IRIS, NUM_POSE = 468, 5, 33  # irises: centre, right, top, left, bottom of the picture
EYE_CORNERS = ((33, 133), (362, 263))  # of the person's right and left eye, from the picture's left to its right
# Edges of the lids, which the eye detector finds better (spread over drawn people 1.3 mm instead of 1.5, opening of the
# eye against truth r = 0.87 instead of 0.77); not so the brows and the skin around the eyes, which it finds, too.
_LIDS = np.array([
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
])  # fmt: skip
_HEATMAP_REACH = 3  # cells of a heat map to either side of a landmark that say where it is


class FacePoints(NamedTuple):
    points: np.ndarray  # [478, 3] pixels; z as x and y, away from the viewer; the irises' is that of their lids
    score: float  # 0..1: is it a face

    def region(self) -> Region:
        """Where to look for this face in the next picture."""
        return around(self.points[:NUM_FACE, :2], direction(self.points[33], self.points[263]), 1.5)


class BodyPoints(NamedTuple):
    points: np.ndarray  # [33, 3] pixels; z as x and y, away from the viewer, from the middle of the hips
    world: np.ndarray  # [33, 3] metres from the middle of the hips, axes likewise
    visibility: np.ndarray  # [33] 0..1
    score: float  # 0..1: is it a body
    mask: np.ndarray  # [256, 256] logits: does a pixel of the region show the person
    within: Region  # the region
    next: Region  # where to look for this body in the next picture


class FaceLandmarker:
    """Landmarks of faces, their eyes looked at once more."""

    def __init__(self) -> None:
        self._face, self._eye = Model("face_landmark"), Model("iris_landmark")

    def __call__(self, picture: Image.Image, region: Region) -> FacePoints:
        pixels = cut(picture, region, self._face.size[0]) * np.float32(1 / 255)
        values, logit = self._face(pixels)
        score = float(expit(logit.item()))
        points = region.to_picture(values.reshape(NUM_FACE, 3) / self._face.size[0])
        irises = [self._look_at_eye(picture, points, side) for side in range(2)]
        return FacePoints(np.concatenate([points, *irises]), score)

    def _look_at_eye(self, picture: Image.Image, points: np.ndarray, side: int) -> np.ndarray:
        """Betters the edges of an eye's lids in ``points`` [468, 3], in place -> its iris [5, 3]."""
        corners = points[list(EYE_CORNERS[side])]
        region = around(corners[:, :2], direction(*corners), 2.3)
        size, mirrored = self._eye.size[0], side == 1  # the detector knows the person's right eye
        pixels = cut(picture, region, size) * np.float32(1 / 255)
        contour, iris = self._eye(pixels[:, ::-1] if mirrored else pixels)
        found = np.concatenate([contour, iris]).reshape(-1, 3)[:, :2] / size
        if mirrored:
            found[:, 0] = 1 - found[:, 0]
        found = region.to_picture(found)
        points[_LIDS[side], :2] = found[: len(_LIDS[side])]
        depth = np.full((NUM_IRIS, 1), corners[:, 2].mean(), np.float32)
        return np.concatenate([found[-NUM_IRIS:], depth], 1)


class BodyLandmarker:
    """Landmarks of bodies."""

    def __init__(self, threads: int = 1) -> None:
        self._model = Model("pose_landmark_full", threads)

    def __call__(self, picture: Image.Image, region: Region) -> BodyPoints:
        size = self._model.size[0]
        values, score, mask, heat, world = self._model(cut(picture, region, size) * np.float32(1 / 255))
        values = values.reshape(-1, 5)
        points = values[:, :3] / size
        points[:, :2] = _by_heat(points[:, :2], heat)
        places = region.to_picture(points)
        shown = expit(values[:NUM_POSE, 3])
        following = body_region(places[NUM_POSE, :2], places[NUM_POSE + 1, :2])
        cosine, sine = np.cos(region.angle), np.sin(region.angle)
        upright = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)
        metres = world.reshape(-1, 3)[:NUM_POSE] @ upright.T
        return BodyPoints(places[:NUM_POSE], metres, shown, float(score.item()), mask[..., 0], region, following)


def _by_heat(points: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Points [N, 2], 0..1, moved to the middle of what their heat maps [h, w, N] (logits) show near them."""
    rows, columns, _ = heat.shape
    out = points.copy()
    for i, (x, y) in enumerate(points):
        column, row = int(x * columns), int(y * rows)
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        left, top = max(column - _HEATMAP_REACH, 0), max(row - _HEATMAP_REACH, 0)
        part = heat[top : row + _HEATMAP_REACH + 1, left : column + _HEATMAP_REACH + 1, i]
        part = expit(part)
        if part.max() >= 0.5:
            at = np.indices(part.shape).reshape(2, -1) @ part.ravel() / part.sum()
            out[i] = (left + at[1]) / columns, (top + at[0]) / rows
    return out
