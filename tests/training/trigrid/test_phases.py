"""Losses of a step by hand, and its parts: the same in micro-batches and processes."""

import math
from types import SimpleNamespace

import pytest
import torch

import training.trigrid.phases as phases
from networks.discriminators import Judgement
from networks.trigrid.discriminator import Observed, PoseAwareJudgement
from networks.trigrid.generator import Draws
from tests.training.trigrid.tiny_portraits import SIZE, make_config, make_dataset, make_step
from training.trigrid.history import Remembered
from training.trigrid.phases import Clock, Fakes, Reals
from training.trigrid.sampling import chained

OFF = torch.autocast("cpu", enabled=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "noise")


@pytest.fixture
def still(monkeypatch):
    """Depths that do not depend on how a batch is cut."""

    def middle(portrait, batch, size, device):
        config = portrait.config
        return Draws(*(torch.full((batch, size * size, n), 0.5) for n in (config.samples, config.importance_samples)))

    monkeypatch.setattr(phases, "draws_of", middle)


class LinearD(torch.nn.Module):
    """score = a (sum of the picture) + b (sum of raw) + c (sum of the mask); E_D always sees ``pose``."""

    def __init__(self, a=0.0, b=0.0, c=0.0, bias=0.0, pose=0.0):
        super().__init__()
        self.weights, self.bias, self.pose = (a, b, c), bias, pose

    def forward(self, seen, camera):
        score = sum(w * part.sum((1, 2, 3)) for w, part in zip(self.weights, seen, strict=True))
        return PoseAwareJudgement(score[:, None] + self.bias, camera.new_full((len(camera), 6), self.pose))


def test_generator_terms_by_hand(dataset):
    config, networks, inputs, _, clock = make_step(dataset)
    judged = SimpleNamespace(generator=networks.generator, discriminator=LinearD(bias=1.5))
    terms, fakes = phases.generator_terms(judged, config, inputs, clock)
    assert terms["G/portrait"].item() == pytest.approx(math.log1p(math.exp(-1.5)))  # softplus(-1.5)
    expected = (fakes.pose - inputs.rough_pose).square().sum(1).mean()
    assert terms["rough_pose"].item() == pytest.approx(expected.item())
    own = networks.generator.trigrid.predict_pose(inputs.z[:, 0], inputs.camera[:, 0])
    torch.testing.assert_close(fakes.pose, own)


def test_poses_are_drawn_about_what_e_g_chose(dataset, still):
    """Yaws by pose_noise, nods and tilts by less, necks and heads alike. Rough labels lead E_G alone."""
    noisy = {"pose_noise": {"first": 0.2, "last": 0.2}}
    config, networks, inputs, _, clock = make_step(dataset, {"schedules": noisy})
    made = phases.make_people(networks.generator, config, inputs, clock)
    own = networks.generator.trigrid.predict_pose(inputs.z[:, 0], inputs.camera[:, 0])
    scale = torch.tensor([0.14, 0.2, 0.11, 0.14, 0.2, 0.11])
    torch.testing.assert_close(made.chosen, own)
    torch.testing.assert_close(made.pose, own + scale * inputs.turns[:, 0].repeat(1, 2))
    assert torch.equal(inputs.turns, chained(inputs.turns[:, 0]))
    terms, fakes = phases.generator_terms(networks, config, inputs, clock)
    assert terms["rough_pose"].item() == pytest.approx((own - inputs.rough_pose).square().sum(1).mean().item())
    torch.testing.assert_close(fakes.pose, made.pose)


def observed(count: int, value: float, size: int = 10) -> Observed:
    shapes = ((3, SIZE, SIZE), (3, size, size), (1, size, size))
    return Observed(*(torch.full((count, *shape), value) for shape in shapes))


def test_discriminator_terms_by_hand(dataset):
    """R1: |grad|^2 is a^2 times the numbers of a picture, and so on; gamma / 2 of it."""
    config, _, inputs, _, clock = make_step(dataset)
    camera = inputs.camera[:2, 0]
    none = torch.empty(2, 0)
    reals = Reals(torch.full((2, 3, SIZE, SIZE), 0.1), torch.ones(2, 1, SIZE, SIZE), camera, none, none)
    fakes = Fakes(observed(2, 0.0), torch.tensor([[0.5] * 6, [0.0] * 6]), torch.zeros(2, 1), none)
    judge = LinearD(a=0.01, b=0.02, c=0.03, bias=0.25, pose=0.1)
    terms = phases.discriminator_terms(judge, config, reals, fakes, camera, clock, gamma=2.0)
    real = 0.01 * 0.1 * 3 * SIZE**2 + 0.02 * 0.1 * 300 + 0.03 * 100 + 0.25
    expected = math.log1p(math.exp(-real)) + math.log1p(math.exp(0.25))
    assert terms["D/portrait"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["D/pose"].item() == pytest.approx((6 * 0.16 + 6 * 0.01) / 2, rel=1e-5)
    squared = 0.01**2 * 3 * SIZE**2 + 0.02**2 * 300 + 0.03**2 * 100
    assert terms["D/portrait_r1"].item() == pytest.approx(2.0 * squared / 2, rel=1e-5)
    assert "D/portrait_r1" not in phases.discriminator_terms(judge, config, reals, fakes, camera, clock, gamma=0.0)


class LinearFace(torch.nn.Module):
    """score = a (sum of the face); the camera is always where it should be, and 0.1 above it."""

    def forward(self, face):
        return Judgement(0.01 * face.sum((1, 2, 3)), torch.full((len(face), 2), 0.1))


def test_face_terms_by_hand(dataset):
    none, camera = torch.empty(1, 0), torch.zeros(1, 2)
    reals = Reals(none, none, none, torch.full((1, 3, 4, 4), 0.5), camera)
    terms = phases.face_terms(LinearFace(), reals, torch.zeros(1, 3, 4, 4), camera, gamma=3.0)
    expected = math.log1p(math.exp(-0.24)) + math.log(2)  # softplus(-0.01 * 48 * 0.5) + softplus(0)
    assert terms["D/face"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["D/face_camera"].item() == pytest.approx(2 * 0.01, rel=1e-5)
    assert terms["D/face_r1"].item() == pytest.approx(0.5 * 3.0 * 48 * 0.01**2, rel=1e-5)


def test_clock():
    raw = {"first": 6, "last": 10, "start": 1, "length": 2}
    schedules = {"rough_pose": {"first": 0.5, "last": 0.0, "start": 1, "length": 2}, "raw_size": raw}
    config = make_config({"first_kimg": 1.0, "schedules": schedules})
    assert Clock.at(config, 0).rough_pose == 0.5 and Clock.at(config, 500).rough_pose == pytest.approx(0.375)
    assert [Clock.at(config, nimg).raw_size for nimg in (0, 600, 1000, 2000)] == [6, 8, 8, 10]  # even ones


def test_neighbours_come_along():
    assert chained(torch.tensor([0, 1, 2])).tolist() == [[0, 2, 1], [1, 0, 2], [2, 1, 0]]


def gradients(networks, *steps) -> list[torch.Tensor]:
    for step in steps:
        step()
    named = [*networks.generator.named_parameters(), *networks.discriminators.named_parameters()]
    parts = [p for name, p in named if not name.endswith("noise_strength")]  # whose gradient is noise's
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parts]
    for part in parts:
        part.grad = None
    return found


def step_of(config, networks, inputs, reals, clock):
    """Gradients of both sides of a batch."""

    def both():
        _, fakes = phases.accumulate_generator(networks, config, inputs, clock, OFF)
        phases.accumulate_discriminator(networks, config, reals, fakes, inputs, clock, 0, OFF)

    return gradients(networks, both)


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5 + 1e-4 * b.abs().max().item())  # float32 sums reordered


@pytest.mark.parametrize(("pose", "face"), [("frames", 0.0), ("smoothed", 1.0)])
def test_micro_batches_and_processes_are_the_same_arithmetic(dataset, still, pose, face):
    changes = {"generator": {"pose": pose}, "face": {"weight": face, "channel_base": 64, "max_channels": 8}}
    config, networks, inputs, reals, clock = make_step(dataset, changes, count=8)
    whole = step_of(config, networks, inputs, reals, clock)
    assert sum(g.abs().sum() for g in whole) > 0
    micro = make_config({**changes, "run": {"micro_batch": 4}})
    assert_close(step_of(micro, networks, inputs, reals, clock), whole)
    halves = [
        step_of(config, networks, inputs.part(rows), Reals(*(part[rows] for part in reals)), clock)
        for rows in (slice(0, None, 2), slice(1, None, 2))
    ]
    assert_close([(a + b) / 2 for a, b in zip(*halves, strict=True)], whole)


def test_e_g_learns_in_the_first_stage_alone(dataset, still):
    for stage, learns in ((1, True), (2, False)):
        config, networks, inputs, _, clock = make_step(dataset, {"stage": stage, "init_from": "before"})
        phases.accumulate_generator(networks, config, inputs, clock, OFF)
        branch = networks.generator.trigrid.pose_branch
        assert all((p.grad is not None and bool(p.grad.any())) is learns for p in branch.parameters())


def test_d_learns_from_its_own_losses_alone(dataset, still):
    config, networks, inputs, _, clock = make_step(dataset)
    phases.accumulate_generator(networks, config, inputs, clock, OFF)
    assert all(p.grad is None for p in networks.discriminators.parameters())
    assert all(p.requires_grad for p in networks.discriminators.parameters())


def test_fakes_that_are_looked_at_again_share_the_weight_of_poses(dataset, still):
    """The same ones again: the gradients are those of once."""
    config, networks, inputs, reals, clock = make_step(dataset, count=8)
    _, fakes = phases.accumulate_generator(networks, config, inputs, clock, OFF)
    networks.generator.zero_grad()
    again = Remembered(*fakes.seen, inputs.camera[:, 0], fakes.pose)
    judge = networks.discriminator

    def poses_alone(weight: float):
        error = phases.pose_error(judge.predict_pose(fakes.seen, inputs.camera[:, 0]), fakes.pose)
        (weight * error.mean()).backward()

    once = gradients(networks, lambda: poses_alone(3.0))
    assert sum(g.abs().sum() for g in once) > 0
    assert_close(gradients(networks, lambda: phases.accumulate_again(judge, again, 3.0, 0, OFF)), once)

    def step(*more: Remembered):
        return lambda: phases.accumulate_discriminator(networks, config, reals, fakes, inputs, clock, 1, OFF, *more)

    assert_close(gradients(networks, step(again)), gradients(networks, step()))


def test_bf16_leaves_positions_alone(dataset, still):
    config, networks, inputs, _, clock = make_step(dataset)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        rounded, pose, *_ = phases.make_people(networks.generator, config, inputs, clock)
    with torch.no_grad():
        exact, expected, *_ = phases.make_people(networks.generator, config, inputs, clock)
    assert torch.equal(pose, expected) and rounded.mask.dtype == torch.float32
    torch.testing.assert_close(rounded.depth, exact.depth, rtol=0, atol=0.05)  # metres: densities are rounded
