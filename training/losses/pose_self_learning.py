"""The game in which G and D learn poses that nobody labelled (3DPortraitGAN, section 3.3), and what goes with it.

E_G guesses the pose with which a person is rendered; E_D, a part of D, learns from renders, whose pose is known, to see
poses, and D judges reals and fakes by the poses that it sees. Rough labels only lead E_G at the beginning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from networks.trigrid.discriminator import Observed
from networks.trigrid.superresolution import resized
from torch_utils.bounds import Range, check_ranges
from torch_utils.device import full_precision

Amount = Annotated[float, Range(-1e6, 1e6)]


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A number that changes linearly while images are shown."""

    first: Amount  # until ``start``
    last: Amount  # from ``start + length`` on
    start: Annotated[float, Range(0.0, 1e9)] = 0.0  # thousands of images
    length: Annotated[float, Range(0.0, 1e9)] = 0.0

    def __post_init__(self):
        check_ranges(self)

    def at(self, kimg: float) -> float:
        """Its value after so many thousands of images."""
        if kimg <= self.start:
            return self.first
        share = min((kimg - self.start) / self.length, 1.0) if self.length else 1.0
        return self.first + share * (self.last - self.first)


# The paper's (released code).
ROUGH_POSE_WEIGHT = Ramp(first=0.5, last=0.0, start=200, length=200)
SWAP_PROBABILITY = Ramp(first=1.0, last=0.7, length=1000)
BLUR_SIGMA = Ramp(first=10.0, last=0.0, length=200)
BACKGROUND_SWAP = 0.2


class Conditions(NamedTuple):
    """What w is conditioned on."""

    camera: Tensor  # [B, 25]
    pose: Tensor  # [B, 6]


def exchanged(own: Conditions, others: Conditions, takes: Tensor) -> Conditions:
    """Own camera and pose, or the batch neighbour's where ``takes`` [B, 1] says so: a picture must not depend on its
    own camera alone (EG3D, section 4.4). Gradients flow to the poses."""
    return Conditions(*(torch.where(takes, *pair) for pair in zip(others, own, strict=True)))


def pose_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared distances [B] of poses [B, 6]: E_G's of the rough labels, E_D's of what was rendered."""
    return (found - wanted).square().sum(-1)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """[B, C, H, W] filtered with taps 2^-(i/sigma)^2, |i| <= 3 sigma, zeros outside (StyleGAN3's blur of D's input)."""
    reach = math.floor(3 * sigma)
    if reach == 0:
        return x
    rows, columns = (_blurring(size, sigma, reach).to(x) for size in x.shape[-2:])
    # Two small products: a convolution channel by channel may take a hundred times as long on a CPU.
    with full_precision():
        return rows @ x @ columns


def _blurring(size: int, sigma: float, reach: int) -> Tensor:
    """The filter of a line of ``size`` pixels, as a symmetric matrix."""
    taps = torch.exp2(-(torch.arange(-reach, reach + 1) / sigma).square())
    places = torch.arange(size)
    apart = (places[:, None] - places).abs()
    return torch.where(apart <= reach, torch.exp2(-(apart / sigma).square()), 0.0) / taps.sum()


def observed_real(image: Tensor, mask: Tensor, raw_size: int, sigma: float) -> Observed:
    """What D sees of photographs [B, 3, H, H] and their masks [B, 1, H, H], raw and mask as small as fakes'."""
    raw, mask = resized(image, raw_size), resized(mask, raw_size)
    return Observed(blurred(image, sigma), blurred(raw, sigma), mask)


class GradientPenalty(NamedTuple):
    """Squared norms [B] of D's gradient at reals."""

    pictures: Tensor  # by picture and raw picture
    mask: Tensor

    @property
    def loss(self) -> Tensor:
        """[B]; times gamma."""
        return (self.pictures + self.mask) / 2


def gradient_penalty(score: Tensor, seen: Observed) -> GradientPenalty:
    """R1 of photographs (Mescheder et al. 2018; PanoHead adds the mask). E_D gets no gradient of it.

    Args:
        score: [B, 1] computed from ``seen``.
        seen: requires gradients.
    """
    gradients = torch.autograd.grad(score.sum(), seen, create_graph=True)
    image, raw, mask = (part.square().sum((1, 2, 3)) for part in gradients)
    return GradientPenalty(image + raw, mask)
