"""How far generated pictures are from the data: a Fréchet distance between features of a small random network.

It needs no pretrained weights and takes seconds, so it can watch a run. It is *not* the FID: its detector is a fixed,
seeded, untrained convolutional net ("random-feature distance"), and its numbers compare only with each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 64  # pixels a side of what the net sees
CHANNELS = (3, 16, 32, 64)


class FeatureStatistics(NamedTuple):
    mean: np.ndarray  # [D]
    covariance: np.ndarray  # [D, D]


class RandomFeatures(nn.Module):
    """Pictures [B, 3, H, W] in -1..1 -> features [B, 160]: mean activations of three layers, and 4 x 4 mean colours."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.layers = nn.ParameterList(
            torch.randn(out, width, 3, 3, generator=random) * (2 / (9 * width)) ** 0.5
            for width, out in zip(CHANNELS[:-1], CHANNELS[1:], strict=True)
        ).requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        x = F.interpolate(image.float(), (SIZE, SIZE), mode="bilinear", antialias=True)
        features = [F.adaptive_avg_pool2d(x, 4).flatten(1)]
        for weight in self.layers:
            x = F.leaky_relu(F.conv2d(x, weight, stride=2, padding=1), 0.2)
            features.append(x.mean((2, 3)))
        return torch.cat(features, 1)


def statistics(features: Tensor) -> FeatureStatistics:
    """Mean and covariance of features [N, D], N > 1."""
    values = features.double().cpu().numpy()
    return FeatureStatistics(values.mean(0), np.cov(values, rowvar=False))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) of two normal distributions (Heusel et al. 2017)."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross).sum()
    return float(np.square(a.mean - b.mean).sum() + trace)
