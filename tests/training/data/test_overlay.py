"""Labels projected into the pictures, against the drawer's own arithmetic."""

import math

import numpy as np
import pytest
import torch

from networks.person.body_assets import default_body, head_shoulder_vertices
from networks.person.body_model import BodyModel
from networks.person.face_model import FaceModel, default_face
from training.data.overlay import project_labels
from training.data.synthetic import sample_expression, sample_identity, sample_pose_camera
from training.data.synthetic.drawing import camera_view, project


@pytest.fixture(scope="module")
def models() -> tuple[BodyModel, FaceModel]:
    body = default_body()
    return BodyModel(body, torch.from_numpy(head_shoulder_vertices(body))), FaceModel(default_face())


def make_labels(count: int = 3) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(11)
    rows = []
    for _ in range(count):
        row = {**sample_identity(rng)._asdict(), **sample_pose_camera(rng)._asdict(), "z_exp": sample_expression(rng)}
        row["face_camera"] = (math.pi / 2 + rng.normal(0, 0.2, 2)).astype(np.float32)
        rows.append(row)
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def test_landmarks_are_where_the_drawer_puts_them(models):
    """Both cameras. The drawer works in float64, the models in float32: 1e-6 of 9.5 focal lengths of 100 pixels."""
    body, face = models
    labels = make_labels()
    overlay = project_labels(labels, body, face, image_size=128, face_size=96)
    heads = body.joint_transforms(labels["betas"], labels["joint_eulers"])[:, 15].double().numpy()
    marks = face.landmarks(face(labels["z_id"], labels["z_exp"])).double().numpy()
    for row, (head, points) in enumerate(zip(heads, marks, strict=True)):
        posed = points @ head[:3, :3].T + head[:3, 3]
        portrait = camera_view(labels["camera"][row].tolist())
        np.testing.assert_allclose(overlay.landmarks[row], project(posed, portrait, 128)[0], atol=2e-3)
        view = camera_view(labels["face_camera"][row].tolist(), "face", head)
        np.testing.assert_allclose(overlay.face_landmarks[row], project(posed, view, 96)[0], atol=2e-3)


def test_joints_in_the_canonical_pose(models):
    """From the front: the neck in the middle under the head, the left side at the picture's right."""
    body, face = models
    labels = {name: torch.zeros_like(value[:1]) for name, value in make_labels(1).items()}
    labels |= {name: torch.full((1, 2), math.pi / 2) for name in ("camera", "face_camera")}
    neck, left_collar, right_collar, head, left_shoulder, right_shoulder = (
        project_labels(labels, body, face, image_size=129, face_size=64).joints[0].unbind(0)
    )
    assert neck[0].item() == pytest.approx(64, abs=1e-3) and head[0].item() == pytest.approx(64, abs=1e-3)
    assert head[1] < neck[1] < left_collar[1]  # rows go down
    for left, right in ((left_collar, right_collar), (left_shoulder, right_shoulder)):
        assert left[0] > 64 + 5 and (left[0] + right[0]).item() == pytest.approx(128, abs=1e-3)
    # The shoulders are 0.3514 m apart, about 0.036 units behind the orbit's centre: by hand, 129-pixel grid.
    distance = 1 / 0.52767998683149  # canonical units from camera to orbit centre
    depth = distance + (-0.050608165033568 / 0.52767998683149) - body.canonical_joints(labels["betas"])[0, 16, 2].item()
    pixels = 0.3514 / 1.1775 / depth / math.tan(math.radians(6)) * 64
    assert (left_shoulder[0] - right_shoulder[0]).item() == pytest.approx(pixels, rel=1e-3)
