"""Adversarial losses against numbers worked out by hand."""

import math

import pytest
import torch

from training.losses.adversarial import (
    camera_loss,
    discriminator_loss,
    generator_loss,
    lazy_gamma,
    relativistic_loss,
    zero_centred_penalty,
)

ROUNDING = 1e-12  # float64


def double(*values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


def test_values_by_hand():
    """softplus(0) = ln 2, softplus(ln 3) = ln 4, softplus(-ln 3) = ln 4/3."""
    fake, real = double(0.0, math.log(3)), double(-math.log(3), 0.0)
    assert generator_loss(fake).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, abs=ROUNDING)
    expected = (math.log(4) + math.log(2)) / 2 + (math.log(2) + math.log(4)) / 2
    assert discriminator_loss(real, fake).item() == pytest.approx(expected, abs=ROUNDING)


def test_pairs_by_hand():
    """Differences of ln 3, -ln 3 and 0: ln 4/3, ln 4, ln 2. A number added to all scores does not count."""
    real, fake = double(math.log(3), 0.0, 5.0), double(0.0, math.log(3), 5.0)
    expected = (math.log(4 / 3) + math.log(4) + math.log(2)) / 3
    for offset in (0.0, -100.0):
        assert relativistic_loss(real + offset, fake + offset).item() == pytest.approx(expected, abs=ROUNDING)
    d_real, d_fake = double(0.0), double(math.log(7))  # D is wrong about them, as G wants it
    assert relativistic_loss(d_real, d_fake).item() == pytest.approx(math.log(8), abs=ROUNDING)
    assert relativistic_loss(d_fake, d_real).item() == pytest.approx(math.log(8 / 7), abs=ROUNDING)


def test_pairs_do_not_saturate_or_overflow():
    scores = double(-1000.0, 1000.0, requires_grad=True)
    loss = relativistic_loss(scores[:1], scores[1:])
    assert loss.item() == 2000.0
    assert torch.autograd.grad(loss, scores)[0].tolist() == [-1.0, 1.0]
    assert relativistic_loss(scores[1:], scores[:1]).item() == 0.0


def test_gan_losses_do_not_saturate_or_overflow():
    score = double(-1000.0, requires_grad=True)
    loss = generator_loss(score)
    assert loss.item() == 1000.0
    assert torch.autograd.grad(loss, score)[0].item() == -1.0
    assert discriminator_loss(double(1000.0), score).item() == 0.0


def test_gradients():
    scores = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    losses = (discriminator_loss, relativistic_loss)
    assert torch.autograd.gradcheck(lambda s: (generator_loss(s[0]), *(loss(*s) for loss in losses)), scores)
    cameras = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: camera_loss(c[0], c[1]), cameras)


def test_penalties_of_a_linear_and_of_a_quadratic_score():
    """D = w.x has |grad|^2 = |w|^2 everywhere; D = |x|^2 / 2 has |x|^2. Whole images, averaged over the batch."""
    weight = torch.arange(12, dtype=torch.float64).reshape(3, 2, 2)
    image = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    penalty = zero_centred_penalty((weight * image).sum((1, 2, 3)), image, gamma=3.0)
    assert penalty.item() == pytest.approx(1.5 * 506, abs=1e-9)  # 0 + 1 + 4 + ... + 121
    penalty = zero_centred_penalty(image.square().sum((1, 2, 3)) / 2, image, gamma=2.0)
    assert penalty.item() == pytest.approx(image.square().sum().item() / 5, abs=1e-9)


def test_penalties_reach_the_weights():
    """D = a |x|^2 / 2: it is gamma/2 a^2 |x|^2, so d/da = gamma a |x|^2; and gradcheck through a nonlinear score."""
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    image = torch.ones(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    penalty = zero_centred_penalty(scale * image.square().sum((1, 2, 3)) / 2, image, gamma=0.5)
    assert torch.autograd.grad(penalty, scale)[0].item() == pytest.approx(0.5 * 3 * 12, abs=ROUNDING)

    def penalty_of(weight):
        return zero_centred_penalty(torch.tanh(image * weight).square().sum((1, 2, 3)), image, gamma=1.0)

    assert torch.autograd.gradcheck(penalty_of, torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True))


def test_lazy_r1_has_the_same_mean():
    weights = [lazy_gamma(2.0, 4, step) for step in range(8)]
    assert weights == [8.0, 0, 0, 0, 8.0, 0, 0, 0]
    assert [lazy_gamma(2.0, 1, step) for step in range(3)] == [2.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="interval: expected a positive whole number, found 0"):
        lazy_gamma(1.0, 0, 0)


def test_camera_loss_by_hand():
    found, true = double([1.5, 1.0], [1.0, 2.0]), double([1.0, 1.0], [1.0, 1.0])
    assert camera_loss(found, true).item() == pytest.approx((0.25 + 1) / 4, abs=ROUNDING)
