"""Posed people: vertices, canonical points and whole frames against golden values."""

import torch

from networks.person.body_model import BodyModel
from networks.trigrid.camera_labels import label_rays
from networks.trigrid.config import TriGridConfig
from networks.trigrid.deformation import NeckAndHead
from networks.trigrid.volume import stratified_depths
from tests.networks.golden import requires_golden
from tests.networks.helpers import make_body
from tests.networks.trigrid.golden import golden_body_model, read_golden
from tests.networks.trigrid.test_generator import CONFIG


@requires_golden
def test_golden_vertices_and_triangles():
    golden = read_golden("deformation")
    deformation = NeckAndHead(golden_body_model(), CONFIG)
    torch.testing.assert_close(deformation.rest, golden["rest_vertices"], rtol=0, atol=1e-5)
    assert torch.equal(deformation.faces, golden["faces"].long())
    torch.testing.assert_close(deformation.posed(golden["pose"]), golden["posed_vertices"], rtol=0, atol=1e-5)


@requires_golden
def test_golden_samples_of_a_posed_frame():
    """Points nearest to an edge or a corner have several triangles as near, and may take another: about one of thirty,
    so that hardly a ray has none. So points are compared, not pictures."""
    golden = read_golden("generator")
    rays = label_rays(golden["c"], CONFIG.raw_size)
    depths = stratified_depths(CONFIG.near, CONFIG.far, golden["stratified_uniform"][..., 0])
    torch.testing.assert_close(depths, golden["coarse_depths"][..., 0], rtol=0, atol=1e-5)
    points = rays.origins[:, :, None] + rays.directions[:, :, None] * depths[..., None]
    found = NeckAndHead(golden_body_model(), CONFIG)(golden["pose"])(points)
    same = (found - golden["coarse_canonical_points"]).norm(dim=-1) < 1e-4
    assert same.float().mean() > 0.94


def test_at_rest_nothing_moves():
    body = make_body()
    model = BodyModel(body, torch.arange(len(body.v_template)))
    deformation = NeckAndHead(model, TriGridConfig(box=0.6))
    points = torch.rand(1, 4, 5, 3) * 0.4 - 0.2
    torch.testing.assert_close(deformation(torch.zeros(1, 6))(points), points, rtol=0, atol=1e-6)


def test_poses_learn_through_the_vertices():
    body = make_body()
    deformation = NeckAndHead(BodyModel(body, torch.arange(len(body.v_template))), TriGridConfig(box=0.6))
    pose = torch.full((1, 6), 0.1, requires_grad=True)
    deformation(pose)(torch.rand(1, 4, 5, 3) * 0.2).sum().backward()
    assert pose.grad is not None and pose.grad.isfinite().all() and pose.grad.abs().max() > 0
