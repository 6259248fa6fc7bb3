"""Which points of the open body the tracker's landmarks are, as found by ``python -m training.tracker_calibration``."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from networks.person.open_body.tables import read_table, write_table
from networks.person.tracker.follow import NUM_LANDMARKS

PATH = Path(__file__).parents[3] / "smpl_models" / "tracked_landmarks.safetensors"
KIND, VERSION = "landmark_points", 1
RELIABLE = 4.0  # mm: spread up to which a landmark says something about the surface
NUM_BODY_POINTS = 13  # of BlazePose's landmarks, those above the elbows


class LandmarkPoints(NamedTuple):
    """Landmarks of :class:`networks.person.tracker.follow.Track` on the open body.

    Spreads are what is left between landmarks found in drawn people and the projections of these points: the root mean
    square in the picture, mm at the person, without outliers' weight.
    """

    face_vertices: np.ndarray  # [478, 3] int64 of the open body's ``body_vertices``: the corners of a triangle
    face_weights: np.ndarray  # [478, 3] float32 barycentric: the landmark is the corners' weighted mean
    face_spread: np.ndarray  # [478] float32 mm
    body_joints: np.ndarray  # [13] int64: the joint that a landmark of the body lies near
    body_turns: np.ndarray  # [13] int64: the joint that it turns with
    body_offsets: np.ndarray  # [13, 3] float32 canonical units: from the former, in the canonical pose
    body_spread: np.ndarray  # [13] float32 mm
    metadata: dict[str, Any]

    @property
    def reliable(self) -> np.ndarray:
        """[478] bool: landmarks that lie at the same place of everybody's surface."""
        return self.face_spread <= RELIABLE


def write_landmark_points(points: LandmarkPoints, path: Path) -> None:
    """Writes the file; the same arrays give the same bytes."""
    arrays = {name: value for name, value in points._asdict().items() if name != "metadata"}
    stored = {name: v.astype(np.int16 if v.dtype.kind == "i" else np.float32) for name, v in arrays.items()}
    tensors = {name: torch.from_numpy(value) for name, value in stored.items()}
    write_table(path, KIND, VERSION, tensors, points.metadata)


def read_landmark_points(path: Path = PATH) -> LandmarkPoints:
    """Reads the file.

    Raises:
        UserError: missing, damaged, or of another body than the open one that is here.
    """
    data = read_table(path, KIND, VERSION, "the tracker's points", "training.tracker_calibration")
    arrays = {name: data[name].numpy() for name in LandmarkPoints._fields if name != "metadata"}
    indices = {name: value.astype(np.int64) for name, value in arrays.items() if value.dtype.kind == "i"}
    points = LandmarkPoints(**arrays | indices, metadata=data["metadata"])
    assert points.face_vertices.shape == (NUM_LANDMARKS, 3)
    return points
