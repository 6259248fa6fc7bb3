"""Imitation (eq. 10) and its nearest vertices against exhaustive search and hand-made faces."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from networks.person.face_model import FaceArrays, FaceModel, default_face, default_face_skin
from training.data.synthetic import sample_expression, sample_identity
from training.losses.imitation import ImitationReference, ImitationTarget, imitation_loss
from training.losses.vertex_tree import VertexTree


def nearest_by_scipy(vertices, points):
    return np.stack([cKDTree(v).query(p)[0] for v, p in zip(vertices.numpy(), points.numpy(), strict=True)])


def make_face(mean, exp_basis):
    """A face of a few vertices that only expressions move."""
    count = len(mean)
    return FaceModel(
        FaceArrays(
            np.asarray(mean, np.float32), np.zeros((count, 3, 80), np.float32), np.asarray(exp_basis, np.float32),
            np.zeros((1, 3), np.int64), np.zeros(68, np.int64),
        )
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(4, 700), beam=st.integers(1, 12), spread=st.floats(1e-3, 10.0))
def test_certain_neighbours_are_nearest(seed, count, beam, spread):
    """Whatever the shape, even one that has nothing to do with the tree's own: no certain answer is wrong."""
    random = torch.Generator().manual_seed(seed)
    tree = VertexTree(torch.randn(count, 3, generator=random).numpy(), beam)
    vertices = torch.randn(2, count, 3, generator=random)
    points = spread * torch.randn(2, 50, 3, generator=random)
    found = tree(vertices, points)
    exact = nearest_by_scipy(vertices, points)
    own = (vertices.gather(1, found.index[..., None].expand(-1, -1, 3)) - points).norm(dim=-1)
    assert torch.allclose(own, found.distance, atol=1e-6 * (1 + spread))
    error = found.distance.numpy() - exact
    assert error.min() >= -1e-6 * (1 + spread)
    assert np.abs(error[found.certain.numpy()]).max(initial=0) <= 1e-6 * (1 + spread)


def test_a_wide_beam_is_exhaustive():
    random = torch.Generator().manual_seed(0)
    vertices, points = torch.randn(1, 300, 3, generator=random), 2 * torch.randn(1, 200, 3, generator=random)
    found = VertexTree(vertices[0].numpy(), beam=1000)(vertices, points)
    assert found.certain.all()
    assert (found.distance.numpy() - nearest_by_scipy(vertices, points)).max() < 1e-6


def test_near_an_expressive_face_nearly_every_answer_is_certain():
    """Points within some 6 mm (0.005 units) of real faces; the tree knows the mean face only."""
    rng, random = np.random.default_rng(0), torch.Generator().manual_seed(0)
    face = FaceModel(default_face())
    z_id = torch.from_numpy(np.stack([sample_identity(rng).z_id for _ in range(2)]))
    z_exp = torch.from_numpy(np.stack([sample_expression(rng) for _ in range(2)]))
    vertices = face(z_id, z_exp)
    points = vertices[:, ::4] + 0.003 * torch.randn(2, len(face.mean[::4]), 3, generator=random)
    found = VertexTree(face.mean.numpy())(vertices, points)
    assert found.certain.float().mean() > 0.98
    assert (found.distance.numpy() - nearest_by_scipy(vertices, points)).max() < 0.001


def test_too_few_vertices():
    with pytest.raises(ValueError, match="vertices: expected at least 4, found 3"):
        VertexTree(np.zeros((3, 3)))


def test_points_are_searched_in_parts(monkeypatch):
    random = torch.Generator().manual_seed(0)
    vertices, points = torch.randn(2, 90, 3, generator=random), torch.randn(2, 25, 3, generator=random)
    tree = VertexTree(vertices[0].numpy())
    whole = tree(vertices, points)
    monkeypatch.setattr("training.losses.vertex_tree.POINTS_PER_CHUNK", 7)
    for one, other in zip(whole, tree(vertices, points), strict=True):
        assert torch.equal(one, other)


def test_the_reference_is_the_way_back():
    """Vertex 1 has moved by 2 * (0, 0.1, 0) to (1, 0.2, 0): what is near *there* goes back by (0, -0.2, 0)."""
    exp_basis = np.zeros((5, 3, 64))
    exp_basis[1, 1, 5] = 0.1
    face = make_face([[0, 0, 0], [1, 0, 0], [0, 5, 0], [5, 5, 0], [5, 9, 0]], exp_basis)
    z_exp = torch.zeros(1, 64)
    z_exp[0, 5] = 2.0
    points = torch.tensor([[[1, 0.25, 0], [0.01, 0, 0.05], [1, 0.4, 0], [3, 3, 3]]])
    reference = ImitationTarget(face, reach=0.1)(points, torch.zeros(1, 80), z_exp)
    assert reference.mask.tolist() == [[True, True, False, False]]
    assert torch.allclose(reference.displacement[0, :2], torch.tensor([[0, -0.2, 0], [0, 0, 0]]), atol=1e-7)
    part = ImitationTarget(face, reach=10, vertex_index=np.array([0, 2, 3, 4]))(points, torch.zeros(1, 80), z_exp)
    assert part.displacement.abs().max() == 0  # without vertex 1 nothing moves


def test_going_back_lands_on_the_neutral_face():
    """A vertex of the expressive face plus its reference is the same vertex of the neutral one."""
    rng, index = np.random.default_rng(1), default_face_skin()
    face = FaceModel(default_face())
    z_id = torch.from_numpy(sample_identity(rng).z_id)[None]
    z_exp = torch.from_numpy(sample_expression(rng))[None]
    moved, neutral = face(z_id, z_exp)[:, index], face(z_id, torch.zeros(1, 64))[:, index]
    reference = ImitationTarget(face, vertex_index=index)(moved, z_id, z_exp)
    assert reference.mask.float().mean() > 0.99
    error = (moved + reference.displacement - neutral).norm(dim=-1)[reference.mask]
    # Coinciding vertices of the closed lips may answer for each other.
    assert (error < 1e-6).float().mean() > 0.95


def test_the_way_to_the_mean_face():
    """A vertex of anybody's face, whatever its expression, plus its reference is the same vertex of the mean face."""
    rng, index = np.random.default_rng(1), default_face_skin()
    face = FaceModel(default_face())
    z_id = torch.from_numpy(sample_identity(rng).z_id)[None]
    z_exp = torch.from_numpy(sample_expression(rng))[None]
    moved = face(z_id, z_exp)[:, index]
    target = ImitationTarget(face, vertex_index=index, to_mean_shape=True)
    reference = target(moved, z_id, z_exp)
    error = (moved + reference.displacement - face.mean[index]).norm(dim=-1)[reference.mask]
    assert (error < 1e-6).float().mean() > 0.95
    chosen = torch.tensor([[5, 900, 3]])
    vertices, back = target.some(chosen, z_id, z_exp)
    assert torch.allclose(vertices, moved[:, chosen[0]], atol=1e-6)
    assert torch.allclose(vertices + back, face.mean[index][chosen], atol=1e-6)


def test_the_way_to_an_open_face():
    """A vertex of anybody's face, whatever its expression, plus its reference is that of the mean face with another."""
    rng, index = np.random.default_rng(1), default_face_skin()
    face, towards = FaceModel(default_face()), torch.zeros(64)
    towards[[3, 40]] = 0.5
    z_id, z_exp = (torch.from_numpy(rng.standard_normal((1, count)).astype(np.float32)) for count in (80, 64))
    chosen = torch.tensor([[5, 900, 3]])
    aim = face(torch.zeros(1, 80), towards[None])[:, index][:, chosen[0]]
    shape = (face(z_id, 0 * z_exp) - face.mean)[:, index][:, chosen[0]]
    for to_mean_shape, expected in ((True, aim), (False, aim + shape)):
        target = ImitationTarget(face, vertex_index=index, to_mean_shape=to_mean_shape, towards=towards)
        vertices, back = target.some(chosen, z_id, z_exp)
        assert torch.allclose(vertices + back, expected, atol=1e-6)
        vertices, back = target.posed(z_id, z_exp)
        assert torch.allclose((vertices + back)[:, chosen[0]], expected, atol=1e-6)


def test_loss_by_hand():
    """Lengths 3 and 5, the third point without reference: (3 + 5 + 0) / 3."""
    reference = ImitationReference(torch.zeros(1, 3, 3).double(), torch.tensor([[True, True, False]]))
    displacement = torch.tensor([[[1.0, -2, 2], [0, 3, 4], [7, 7, 7]]], dtype=torch.float64)
    assert imitation_loss(displacement, reference).item() == pytest.approx(8 / 3, abs=1e-12)


def test_loss_gradients():
    random = torch.Generator().manual_seed(0)
    reference = ImitationReference(
        torch.randn(2, 4, 3, generator=random, dtype=torch.float64), torch.rand(2, 4, generator=random) > 0.3
    )
    field = torch.randn(2, 4, 3, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: imitation_loss(x, reference), field)
    exact = reference.displacement.clone().requires_grad_()
    imitation_loss(exact, reference).backward()  # the norm has no slope at 0, and no NaN
    assert exact.grad.abs().max() == 0


@pytest.mark.requires_cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_gpu():
    """The whole loss, forward and backward, without a copy to the host; and the answer is the CPU's."""
    random = torch.Generator().manual_seed(0)
    face = FaceModel(default_face())
    points = face.mean[::5].repeat(2, 1, 1) + 0.002 * torch.randn(2, len(face.mean[::5]), 3, generator=random)
    inputs = [points, torch.randn(2, 80, generator=random), torch.randn(2, 64, generator=random)]
    target = ImitationTarget(face)
    expected = imitation_loss(torch.zeros_like(points), target(*inputs)).item()
    target, inputs = target.cuda(), [value.cuda() for value in inputs]
    field = torch.zeros_like(inputs[0], requires_grad=True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = imitation_loss(field, target(*inputs))
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.item() == pytest.approx(expected, rel=1e-3)  # ties and tf32 aside
