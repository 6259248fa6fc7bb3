"""Whether faces are the same person's, by a net that knows real people: dlib's (King 2017).

Detector and net are those of two optional packages: dlib-bin (Boost licence), face-recognition-models (weights, CC0).
Faces of 0.6 apart or less are taken for one person's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from torch_utils.assets import OPTIONAL, packaged_file
from torch_utils.misc import UserError
from torch_utils.pixels import image_to_uint8

if TYPE_CHECKING:
    from training.metrics.scene import Scene

PACKAGE = "face_recognition_models"
NET, LANDMARKS = "models/dlib_face_recognition_resnet_model_v1.dat", "models/shape_predictor_5_face_landmarks.dat"
SHA256 = {
    NET: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    LANDMARKS: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
}
FEATURES = 128
SMALLEST = 160  # pixels of the shorter side below which pictures are doubled: the detector sees faces of 80 and more


class FaceRecognition:
    """Pictures -> places in a space where one person's faces lie together.

    Raises:
        UserError: a package is not installed, or its files are not what they should be.
    """

    def __init__(self) -> None:
        what = "--metrics recognition"
        net, landmarks = (packaged_file(PACKAGE, name, SHA256[name], what) for name in (NET, LANDMARKS))
        try:
            dlib: Any = importlib.import_module("dlib")
        except ImportError as error:
            raise UserError(f"{what} needs the package dlib-bin: {OPTIONAL} ({error})") from None
        self._find = dlib.get_frontal_face_detector()
        self._landmarks, self._net = dlib.shape_predictor(str(landmarks)), dlib.face_recognition_model_v1(str(net))

    def __call__(self, picture: np.ndarray) -> Tensor | None:
        """[H, W, 3] uint8 -> [128] of the largest face; None where none is found."""
        picture = np.ascontiguousarray(picture)
        faces = self._find(picture, int(min(picture.shape[:2]) < SMALLEST))
        if not faces:
            return None
        face = max(faces, key=lambda found: found.area())
        return torch.tensor(self._net.compute_face_descriptor(picture, self._landmarks(picture, face)))


def recognition_distance(scene: Scene) -> dict[str, float]:
    """Distances between the faces of a person under two expressions and cameras, and of other people.

    ``same``, ``others``: means over people, and over pairs of them. ``found``: the share of pictures in which a face is
    found; the others do not count.
    """
    recognise, inputs = FaceRecognition(), scene.inputs
    other = inputs._replace(z_exp=inputs.z_exp.roll(1, 0), face_camera=inputs.face_camera.roll(1, 0))
    found = torch.full((2, len(inputs.z_id), FEATURES), torch.nan)
    for side, rows in enumerate((inputs, other)):
        for i in range(len(rows.z_id)):
            image = scene.view(rows.part(slice(i, i + 1)), "face").image[0]
            face = recognise(image_to_uint8(image))
            if face is not None:
                found[side, i] = face
    return {**distances_of(*found), "found": found[..., 0].isfinite().float().mean().item()}


def distances_of(first: Tensor, second: Tensor) -> dict[str, float]:
    """Of two faces [N, D] each of N people; NaN rows are faces that were not found."""
    apart = (first[:, None] - second).norm(dim=-1)  # [N, N]
    same, others = apart.diagonal(), apart[~torch.eye(len(apart), dtype=torch.bool)]
    return {"same": same.nanmean().item(), "others": others.nanmean().item()}
