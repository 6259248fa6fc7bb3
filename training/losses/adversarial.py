"""The adversarial losses: non-saturating (paper section 3.3) or relativistic, R1 and R2 for either, and the family's
camera regression."""

import torch
from torch import Tensor
from torch.nn import functional as F


def generator_loss(fake_score: Tensor) -> Tensor:
    """E[softplus(-D(G(z)))], non-saturating (Goodfellow et al. 2014); fake_score [B] logits -> scalar."""
    return F.softplus(-fake_score).mean()


def discriminator_loss(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """E[softplus(-D(x))] + E[softplus(D(G(z)))]; scores [B] logits -> scalar."""
    return F.softplus(-real_score).mean() + F.softplus(fake_score).mean()


def relativistic_loss(preferred_score: Tensor, other_score: Tensor) -> Tensor:
    """E[softplus(D(other) - D(preferred))] over pairs: one of each shall be the more real (Jolicoeur-Martineau 2019).

    D prefers the real one and G the generated one. With R1 and R2 the game converges (Huang et al. 2024, R3GAN).

    Args:
        preferred_score, other_score: [B] logits; row i is a pair, drawn independently.
    """
    return F.softplus(other_score - preferred_score).mean()


def zero_centred_penalty(score: Tensor, image: Tensor, gamma: float) -> Tensor:
    """gamma / 2 * E[|grad_x D(x)|^2], the squared norm over a whole image: R1 of real ones, R2 of generated ones
    (Mescheder et al. 2018).

    Args:
        score: [B] logits, computed from ``image``.
        image: [B, 3, H, W] that requires gradients.
        gamma: the penalty's weight, or :func:`lazy_gamma`.
    """
    (gradient,) = torch.autograd.grad(score.sum(), image, create_graph=True)
    return 0.5 * gamma * gradient.square().sum((1, 2, 3)).mean()


def lazy_gamma(gamma: float, interval: int, step: int) -> float:
    """A penalty's weight at a step when it is applied at every ``interval``-th only (Karras et al. 2020).

    It is gamma * interval there, so that its mean stays gamma, and 0 elsewhere: it need not be computed.

    Raises:
        ValueError: an interval below 1.
    """
    if interval < 1:
        raise ValueError(f"interval: expected a positive whole number, found {interval}")
    return gamma * interval if step % interval == 0 else 0.0


def camera_loss(predicted: Tensor, camera: Tensor) -> Tensor:
    """Mean square error of D's cameras; predicted and camera [B, 2] (pitch, yaw) in radians -> scalar.

    It is part of D's loss on real images and of both sides' on generated ones (GRAM: weight 15).
    """
    return F.mse_loss(predicted.to(camera.dtype), camera)  # D may run in bfloat16
