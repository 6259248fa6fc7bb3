"""The body: rotations, joints and skinning of a body whose joints are known exactly."""

import math

import numpy as np
import pytest
import torch
from smplx.lbs import batch_rigid_transform, lbs

from networks.cameras import FACE_OFFSET, FACE_RADIUS, SMPL_SCALE
from networks.person.body_assets import head_shoulder_vertices
from networks.person.body_model import HEAD, MEAN_POSE, NECK, BodyModel, euler_to_matrix
from tests.networks.helpers import CORNERS, JOINTS, PARENTS, make_body, max_error

METRES = 5e-6  # float32 rounding of a few products of numbers near 1, divided by 1.18 m a unit
ZERO_BETAS, ZERO_POSE = torch.zeros(1, 10), torch.zeros(1, 6, 3)
POSED = range(12, 18)


@pytest.fixture(scope="module")
def model() -> BodyModel:
    """Without pose directions, so that vertices move rigidly with their joints."""
    body = make_body()
    index = torch.from_numpy(head_shoulder_vertices(body))
    return BodyModel(body._replace(posedirs=np.zeros_like(body.posedirs)), index)


def rotation(e0: float, e1: float, e2: float) -> torch.Tensor:
    """Rz(e0) Ry(e1) Rx(e2), spelled out."""
    (c0, s0), (c1, s1), (c2, s2) = ((math.cos(e), math.sin(e)) for e in (e0, e1, e2))
    z = torch.tensor([[c0, -s0, 0], [s0, c0, 0], [0, 0, 1]])
    y = torch.tensor([[c1, 0, s1], [0, 1, 0], [-s1, 0, c1]])
    x = torch.tensor([[1, 0, 0], [0, c2, -s2], [0, s2, c2]])
    return z @ y @ x


def chain(local: dict[int, torch.Tensor], joints: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Rotation and position of every joint: positions given at rest, each joint turned about itself."""
    posed = []
    for j, parent in enumerate(PARENTS):
        up_rotation, up_position = (torch.eye(3), joints[0]) if parent < 0 else posed[parent]
        offset = torch.zeros(3) if parent < 0 else joints[j] - joints[parent]
        posed.append((up_rotation @ local.get(j, torch.eye(3)), up_position + up_rotation @ offset))
    return posed


def canonical(points: torch.Tensor) -> torch.Tensor:
    return ((points - torch.tensor(JOINTS[NECK])) / SMPL_SCALE - torch.tensor(FACE_OFFSET)) / FACE_RADIUS


def make_pose(seed: int = 0) -> torch.Tensor:
    return 0.4 * torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(seed))


def test_euler_angles():
    eulers = torch.tensor([[0.3, -0.7, 1.1], [0.1, 0.0, -2.0]])
    expected = torch.stack([rotation(*row.tolist()) for row in eulers])
    assert max_error(euler_to_matrix(eulers), expected) < 1e-6
    quarter = euler_to_matrix(torch.tensor([math.pi / 2, 0, 0]))
    assert max_error(quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])) < 1e-6


def test_the_canonical_frame(model):
    """The neck joint is at -face_offset / face_radius; 1 unit is 1.1775 m; no axis is turned."""
    points = torch.tensor([JOINTS[NECK]]) + torch.tensor([[0, 0, 0], [1.1775, 0, 0], [0, 1.1775, 0], [0, 0, 1.1775]])
    points = model.to_canonical(points[None], ZERO_BETAS)[0]
    assert max_error(points[0], -torch.tensor(FACE_OFFSET) / FACE_RADIUS) < METRES
    assert max_error(points[1:] - points[0], torch.eye(3)) < 1e-4  # 1.1775 is rounded


def test_the_neck_of_any_shape_is_the_origin(model):
    """Canonical space hangs on the neck joint of the body with these betas."""
    betas = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    shaped = model.v_template + (model.shapedirs @ betas[0])
    neck = (model.J_regressor @ shaped)[None, None, NECK]
    assert max_error(neck[0, 0], model.v_template[:0].new_tensor(JOINTS[NECK])) > 1e-3  # it did move
    expected = -torch.tensor(FACE_OFFSET) / FACE_RADIUS
    assert max_error(model.to_canonical(neck, betas)[0, 0], expected) < METRES


def mean_rotations() -> dict[int, torch.Tensor]:
    return {j: rotation(*row) for j, row in zip(POSED, MEAN_POSE, strict=True)}


def corners_of(posed: list[tuple[torch.Tensor, torch.Tensor]], joint: int) -> torch.Tensor:
    """The five corners of a joint's octahedron that belong to it alone, in metres."""
    mine = torch.tensor(CORNERS[[0, 1, 3, 4, 5]] * 0.06, dtype=torch.float32)
    turn, position = posed[joint]
    return mine @ turn.T + position


@pytest.mark.parametrize("joint", [NECK, HEAD, 16, 17, 20])
def test_canonical_vertices(model, joint):
    posed = chain(mean_rotations(), torch.tensor(JOINTS))
    vertices = model.canonical_vertices(ZERO_BETAS)[0].unflatten(0, (24, 6))[joint, [0, 1, 3, 4, 5]]
    assert max_error(vertices, canonical(corners_of(posed, joint))) < METRES


def test_arms_hang_in_the_canonical_pose(model):
    vertices = model.canonical_vertices(ZERO_BETAS)[0].unflatten(0, (24, 6)).mean(1)
    for shoulder, wrist in ((16, 20), (17, 21)):
        assert vertices[wrist, 1] < vertices[shoulder, 1] - 0.3
        assert (vertices[wrist, 0] - vertices[shoulder, 0]).abs() < 0.3


@pytest.mark.parametrize("joint", [NECK, HEAD, 14, 16, 21])
def test_posed_vertices(model, joint):
    """The mesh is posed by R(e) R(mean pose)."""
    eulers = make_pose()
    mean = mean_rotations()
    local = {j: rotation(*eulers[0, j - 12].tolist()) @ mean[j] for j in POSED}
    vertices = model.posed_vertices(ZERO_BETAS, eulers)[0].unflatten(0, (24, 6))[joint, [0, 1, 3, 4, 5]]
    assert max_error(vertices, canonical(corners_of(chain(local, torch.tensor(JOINTS)), joint))) < METRES


def test_inverse_skinning_may_take_anybody_to_the_mean_shape():
    """A rigid vertex of a posed body of any shape arrives at the mean body's; without the option at its own."""
    body = make_body()
    body = body._replace(posedirs=np.zeros_like(body.posedirs))
    index, betas = torch.from_numpy(head_shoulder_vertices(body)), torch.linspace(-1, 1, 10)[None]
    for to_mean_shape, where in ((False, betas), (True, ZERO_BETAS)):
        model = BodyModel(body, index, to_mean_shape=to_mean_shape)
        posed = model(betas, make_pose())
        points = torch.cat([posed.vertices, torch.ones(1, len(index), 1)], -1)
        back = (posed.inverse_transforms @ points[..., None])[..., :3, 0]
        rigid = model.head_shoulder_weights.amax(1) > 0.999
        expected = model.canonical_vertices(where)[:, index]
        assert rigid.sum() > 20 and max_error(back[:, rigid], expected[:, rigid]) < 2e-5  # float32, through an inverse


def test_joint_transforms(model):
    """Rigid, chained over the canonical joints by R(e): every joint is carried to where the chain puts it."""
    eulers = make_pose()
    resting = torch.stack([position for _, position in chain(mean_rotations(), torch.tensor(JOINTS))])
    resting = canonical(resting)
    posed = chain({j: rotation(*eulers[0, j - 12].tolist()) for j in POSED}, resting)
    transforms = model.joint_transforms(ZERO_BETAS, eulers)[0]
    for j, (turn, position) in enumerate(posed):
        assert max_error(transforms[j, :3, :3], turn) < METRES
        assert max_error(transforms[j, :3, :3] @ resting[j] + transforms[j, :3, 3], position) < METRES
    assert torch.equal(transforms[:, 3], torch.tensor([0.0, 0, 0, 1]).expand(24, 4))


def test_joints_are_those_of_the_skinned_body(model):
    """Of any shape: the regressor's joints at rest, posed, are where smplx puts the joints."""
    betas, eulers = torch.randn(1, 10, generator=torch.Generator().manual_seed(0)), make_pose()
    rotations = model._rotations(euler_to_matrix(model.mean_pose)[None])
    posedirs = model.posedirs.flatten(0, 1).T
    _, joints = lbs(
        betas, rotations, model.v_template[None], model.shapedirs, posedirs, model.J_regressor, model.parents,
        model.lbs_weights, pose2rot=False,
    )  # fmt: skip
    rotations = model._rotations(euler_to_matrix(eulers))
    _, expected = batch_rigid_transform(rotations, model.to_canonical(joints, betas), model.parents)
    assert max_error(model.joint_transforms(betas, eulers), expected) < 1e-6


def test_the_mean_pose_is_the_identity(model):
    body = model(ZERO_BETAS, ZERO_POSE)
    assert max_error(body.joint_transforms, torch.eye(4).expand(1, 24, 4, 4)) < METRES
    assert max_error(body.vertices, model.canonical_vertices(ZERO_BETAS)[:, model.head_shoulder_index]) < METRES


def test_turning_the_head_moves_only_the_head(model):
    """The last joint of its branch: the others stay."""
    eulers = ZERO_POSE.clone()
    eulers[0, HEAD - 12] = torch.tensor([0.1, 0.6, 0.0])
    moved = model.posed_vertices(ZERO_BETAS, eulers) - model.canonical_vertices(ZERO_BETAS)
    moved = moved[0].norm(dim=-1).unflatten(0, (24, 6)).amax(1)
    assert moved[HEAD] > 0.02
    assert moved[torch.arange(24) != HEAD].max() < METRES


def test_pose_directions_and_shape_directions_are_used():
    """Where nothing but joint 15's R - I differs, a vertex moves by its pose directions (R = R(mean), canonical)."""
    body = make_body()
    full = BodyModel(body, torch.arange(144))
    bare = BodyModel(body._replace(posedirs=np.zeros_like(body.posedirs)), torch.arange(144))
    feature = torch.zeros(23, 3, 3)
    for j, turn in mean_rotations().items():
        feature[j - 1] = turn - torch.eye(3)
    offset = torch.from_numpy(body.posedirs) @ feature.flatten()  # [V, 3] before skinning
    change = full.canonical_vertices(ZERO_BETAS) - bare.canonical_vertices(ZERO_BETAS)
    pelvis = slice(0, 6)  # turned by nothing
    assert max_error(change[0, pelvis] * SMPL_SCALE * FACE_RADIUS, offset[pelvis]) < METRES
    betas = torch.zeros(1, 10)
    betas[0, 3] = 2.0
    bigger = bare.posed_vertices(betas, ZERO_POSE)
    assert max_error(bigger, bare.posed_vertices(ZERO_BETAS, ZERO_POSE)) > 1e-3


def test_a_batch_is_its_bodies(model):
    betas, eulers = torch.randn(2, 10), torch.cat([make_pose(1), make_pose(2)])
    both = model(betas, eulers)
    second = model(betas[1:], eulers[1:])
    assert max_error(both.vertices[1:], second.vertices) < METRES
    assert max_error(both.joint_transforms[1:], second.joint_transforms) < METRES
    assert both.vertices.shape == (2, len(model.head_shoulder_index), 3)
    assert torch.equal(model.head_shoulder_weights, model.lbs_weights[model.head_shoulder_index])


def test_weights_loaded_later_leave_the_arrays_as_they_were():
    before = make_body().v_template.copy()
    body = BodyModel(make_body(), torch.from_numpy(head_shoulder_vertices(make_body())))
    body.load_state_dict({name: torch.zeros_like(value) for name, value in body.state_dict().items()})
    assert not body.v_template.any() and np.array_equal(make_body().v_template, before)
