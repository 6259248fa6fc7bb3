"""Mirrored labels: closed forms, and people drawn with mirrored labels against mirrored pictures of them."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from networks.cameras import FACE_CAMERA, PORTRAIT_CAMERA, project, to_pixels
from networks.person.body_assets import BodyArrays, default_body
from networks.person.body_model import euler_to_matrix
from networks.person.face_model import FaceModel, default_face
from networks.person.open_body.actions import ACTIONS
from networks.person.open_body.parts import PART_NAMES
from networks.person.open_body.storage import read_open_body
from networks.person.tracking import MILLIMETRES
from training.data.mirror import LANDMARK_MIRROR, LabelMirror, basis_mirror, label_mirror
from training.data.synthetic import (
    ColouredMesh,
    SyntheticPerson,
    draw_mesh,
    sample_expression,
    sample_identity,
    sample_pose_camera,
)

REFLECT = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
SIZE = 96


@pytest.fixture(scope="module")
def mirror() -> LabelMirror:
    return label_mirror(default_face(), default_body())


def make_batch(count: int = 3) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(count):
        identity, pose = sample_identity(rng), sample_pose_camera(rng)
        rows.append(
            {
                **identity._asdict(),
                **pose._asdict(),
                "z_exp": sample_expression(rng),
                "face_camera": math.pi / 2 + rng.normal(0, 0.2, 2).astype(np.float32),
                "landmarks": rng.uniform(0, SIZE - 1, (68, 2)).astype(np.float32),
            }
        )
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def test_twice_is_nothing(mirror):
    batch = make_batch()
    again = mirror(mirror(batch, SIZE), SIZE)
    for name, value in batch.items():
        # float32: pi - (pi - yaw) and 95 - (95 - x) round; coefficients are swapped or negated up to 1e-6
        torch.testing.assert_close(again[name], value, atol=1e-5, rtol=0)


def test_hand_computed():
    mirror = LabelMirror(z_id=None, z_exp=torch.tensor([[0.0, 2.0], [-1.0, 0.0]]), betas=None)
    assert mirror.missing == ("z_id", "betas")
    eulers = torch.arange(18.0).view(1, 6, 3)
    ours = mirror(
        {
            "z_id": torch.ones(1, 80),
            "z_exp": torch.tensor([[3.0, 5.0]]),
            "camera": torch.tensor([[1.5, 1.0]]),
            "face_camera": torch.tensor([[1.4, 2.0]]),
            "joint_eulers": eulers,
            "landmarks": torch.tensor([[[10.0, 20.0]] * 68]),
            "eps": torch.ones(1, 4),
        },
        100,
    )
    torch.testing.assert_close(ours["z_exp"], torch.tensor([[-5.0, 6.0]]))
    torch.testing.assert_close(ours["camera"], torch.tensor([[1.5, math.pi - 1.0]]))
    torch.testing.assert_close(ours["face_camera"], torch.tensor([[1.4, math.pi - 2.0]]))
    assert ours["joint_eulers"][0, 1].tolist() == [-6.0, -7.0, 8.0]  # the left collar has what the right one had
    assert ours["joint_eulers"][0, 3].tolist() == [-9.0, -10.0, 11.0]
    assert ours["landmarks"][0, 0].tolist() == [89.0, 20.0]
    assert torch.equal(ours["z_id"], torch.ones(1, 80)) and torch.equal(ours["eps"], torch.ones(1, 4))


def test_euler_signs_reflect_the_rotation(mirror):
    """R(e') = F R(e) F with F = diag(-1, 1, 1)."""
    eulers = torch.randn(4, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = euler_to_matrix(mirror({"joint_eulers": eulers}, SIZE)["joint_eulers"])
    expected = REFLECT[:, None] * euler_to_matrix(eulers)[:, [0, 2, 1, 3, 5, 4]] * REFLECT
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)


def make_body(body: BodyArrays, betas: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(body.v_template) + torch.einsum("vck,bk->bvc", torch.from_numpy(body.shapedirs), betas)


@pytest.mark.parametrize("model", [PORTRAIT_CAMERA, FACE_CAMERA])
def test_mirrored_cameras_see_mirrored_points(mirror, model):
    """Column c becomes width - 1 - c, the row stays."""
    generator = torch.Generator().manual_seed(1)
    points = 0.1 * torch.randn(5, 20, 3, dtype=torch.float64, generator=generator)
    camera = math.pi / 2 + 0.3 * torch.randn(5, 2, dtype=torch.float64, generator=generator)
    mirrored = mirror({"camera": camera}, SIZE)["camera"]
    seen, expected = (
        to_pixels(project(*args, model), SIZE) for args in ((points * REFLECT, mirrored), (points, camera))
    )
    torch.testing.assert_close(seen[..., 0], SIZE - 1 - expected[..., 0], atol=1e-9, rtol=0)
    torch.testing.assert_close(seen[..., 1], expected[..., 1], atol=1e-9, rtol=0)


def test_landmarks_are_paired():
    index = torch.tensor(LANDMARK_MIRROR)
    assert torch.equal(index[index], torch.arange(68))
    face = default_face()
    marks = torch.from_numpy(face.mean[face.landmarks]).double()
    assert (marks[index] * REFLECT - marks).abs().max() < 1e-7


def test_faces_and_bodies_are_mirrored(mirror):
    """Mirrored coefficients give the reflected surface, vertex for vertex."""
    face, body = default_face(), default_body()
    batch = make_batch()
    ours, neutral = mirror(batch, SIZE), torch.zeros(len(batch["z_exp"]), 64)
    model = FaceModel(face)
    for ours_at, at in (
        (model(ours["z_id"], neutral), model(batch["z_id"], neutral)),
        (make_body(body, ours["betas"]), make_body(body, batch["betas"])),
    ):
        for person, reflected in zip(ours_at.numpy(), (at * REFLECT.float()).numpy(), strict=True):
            assert cKDTree(person).query(reflected)[0].max() < 1e-5  # float32 at 1 m or 1 unit, coefficients to 1e-6


def test_expressions_are_mirrored(mirror):
    """Left and right actions change places. Artists made them: images of a few vertices lie up to 2.3 mm off."""
    matrix = mirror.z_exp.numpy()
    for column, name in enumerate(ACTIONS):
        other = name.replace("Left", "@").replace("Right", "Left").replace("@", "Right")
        assert matrix[column].tolist() == np.eye(64)[ACTIONS.index(other)].tolist(), name
    assert np.array_equal(matrix[52:], np.eye(64)[52:])
    opened = read_open_body()
    twin = np.searchsorted(opened.head_vertices, opened.twin[opened.head_vertices])
    reflected = np.einsum("vck,km->vcm", opened.exp_basis[twin] * REFLECT.float().numpy()[:, None], matrix)
    gaps = MILLIMETRES * np.linalg.norm(reflected - opened.exp_basis, axis=1)
    assert gaps.mean() < 0.01 and gaps.max() < 2.3


def test_a_basis_with_a_known_mirror():
    """Two vertices, mirror images of each other; the modes: left moves out, right moves out, both move up."""
    mean = np.array([[1.0, 0, 0], [-1, 0, 0]])
    basis = np.zeros((2, 3, 3))
    basis[0, 0, 0], basis[1, 0, 1], basis[:, 1, 2] = 1, -1, 1
    expected = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(basis_mirror(mean, basis), expected, atol=1e-12, rtol=0)


def test_a_basis_without_a_mirror():
    mean = np.array([[1.0, 0, 0], [-1, 0, 0]])
    one_sided = np.zeros((2, 3, 1))
    one_sided[0, 1, 0] = 1  # only the left vertex can move
    assert basis_mirror(mean, one_sided) is None
    assert basis_mirror(mean, np.zeros((2, 3, 4))) is None


@pytest.mark.parametrize("seed", [0, 1])
def test_drawing_mirrored_labels_gives_the_mirrored_picture(mirror, seed):
    """Clothed bodies in flat colours by part: light comes from one side, strands of hair have no mirror image."""
    rng = np.random.default_rng(seed)
    identity, expression, pose = sample_identity(rng), sample_expression(rng), sample_pose_camera(rng)
    labels = {"z_id": identity.z_id, "betas": identity.betas, "z_exp": expression, **pose._asdict()}
    batch = {name: torch.from_numpy(value)[None] for name, value in labels.items()}
    mirrored = {name: value[0].numpy() for name, value in mirror(batch, SIZE).items()}
    plain, ours = draw_flat(labels), draw_flat(mirrored)
    wrong = (np.abs(plain[:, :, ::-1] - ours) > 0.25).any(0).mean()
    unflipped = (np.abs(plain - ours) > 0.25).any(0).mean()
    # What differs are pixels on the edges of parts. Measured: 0.0001 of the pixels at most, one of them.
    assert wrong < 0.0005 < 0.02 < unflipped


def draw_flat(row: dict[str, np.ndarray]) -> np.ndarray:
    person = SyntheticPerson(row["z_id"], np.zeros(80), row["betas"])
    layers = person.posed(row["z_exp"], row["joint_eulers"]).surfaces[
        :2
    ]  # body and shirt, without which sleeves are torn
    corners = np.concatenate([layer.vertices[layer.faces].reshape(-1, 3) for layer in layers])
    materials = np.concatenate([layer.materials for layer in layers])
    palette = np.random.default_rng(0).random((len(PART_NAMES), 3), dtype=np.float32)
    colours = np.repeat(palette[materials], 3, 0)  # every face has colours of its own
    mesh = ColouredMesh(corners, np.arange(len(corners)).reshape(-1, 3), colours)
    return draw_mesh(mesh, tuple(row["camera"]), size=SIZE).image
