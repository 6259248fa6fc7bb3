"""Inverse deformation by triangles: by hand, by golden values and their gradients."""

import math

import torch

from networks.person.triangle_frames import faces_within, to_rest_pose, triangle_frames
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden
from torch_utils.ops.nearest_triangle import nearest_triangles

REST = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, -1]])
FACES = torch.tensor([[0, 1, 2]])


def test_frames_by_hand():
    frames = triangle_frames(torch.tensor([[1.0, 1, 1], [3, 1, 1], [1, 5, 1]]))
    assert frames.axes.tolist() == [[1, 0, 0], [0, 0, 1], [0, -1, 0]] and frames.origin.tolist() == [1, 1, 1]


def test_a_rigid_motion_is_undone():
    c, s = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    posed = REST @ turn.T + torch.tensor([0.1, -0.2, 0.3])
    near, far = torch.tensor([[0.2, 0.1, -0.3], [0.9, -0.2, 0.1]]), torch.tensor([[0.0, 3.0, 0.0]])
    points = torch.cat([near @ turn.T + torch.tensor([0.1, -0.2, 0.3]), far])
    found = to_rest_pose(points[None], posed[None], REST, FACES, 0.25)[0]
    torch.testing.assert_close(found[:2], near, rtol=0, atol=1e-6)
    assert torch.equal(found[2:], far)  # beyond the thickness


def test_faces_within():
    vertices = torch.tensor([[0.0, 0, 0], [0.4, 0, 0], [0, 0.4, 0], [0.6, 0, 0]])
    assert faces_within(vertices, torch.tensor([[0, 1, 2], [1, 2, 3]]), 0.5).tolist() == [[0, 1, 2]]


@requires_golden
def test_golden_points_and_their_gradients():
    """Points nearest to an edge or a corner have several triangles as near: the others' results are compared."""
    golden, given = read_golden("deformation"), read_golden("deformation_gradient")
    faces, posed = golden["faces"].long(), golden["posed_vertices"]
    points = golden["points"].clone().requires_grad_()
    found = to_rest_pose(points, posed, golden["rest_vertices"], faces, 0.25)
    (found * given["cotangent"]).sum().backward()
    assert points.grad is not None
    for row in range(2):
        nearest = nearest_triangles(golden["points"][row], posed[row][faces])
        torch.testing.assert_close(nearest.distance, golden["distance"][row], rtol=0, atol=1e-5)
        same = nearest.triangle == golden["triangle"][row]
        assert same.float().mean() > 0.95
        torch.testing.assert_close(found[row, same], golden["canonical_points"][row, same], rtol=0, atol=1e-5)
        # axes of thin triangles turn much for a little
        torch.testing.assert_close(points.grad[row, same], given["point_gradient"][row, same], rtol=0, atol=1e-3)


def test_gradients_of_what_is_posed():
    """The nearest triangle held, against finite differences in double precision of the frames alone."""
    torch.manual_seed(0)
    posed = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    point = torch.randn(3, dtype=torch.float64)

    def carried(corners: torch.Tensor) -> torch.Tensor:
        frames = triangle_frames(corners)
        return frames.axes @ (point - frames.origin)

    assert torch.autograd.gradcheck(carried, (posed,))
