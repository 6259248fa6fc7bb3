"""Where manifolds begin: the relief in closed form, and that M follows it."""

import numpy as np
import pytest
import torch

from networks.manifold.generator import Generator, GeneratorConfig
from networks.person.body_assets import default_body, head_shoulder_vertices
from training.manifold_shape import (
    BACK_OFFSET,
    CLOSE,
    FRONT_OFFSET,
    MIN_HEIGHT,
    WIDE,
    depth_share,
    fit_manifolds,
    relief,
)

CONFIG = GeneratorConfig(image_size=64, lowres_size=16, num_manifolds=4, manifold_dim=32)


def test_relief_of_one_point_is_a_blurred_cone():
    height = relief(np.array([[0.0, 0.0, 0.1]]))
    far = height([[0.15, 0.0], [0.2, 0.0]])
    assert far[0] - far[1] == pytest.approx(0.05 * WIDE.max_slope, rel=0.05)  # the cone's slope, off its blurred tip
    assert height([[0.0, 0.0]])[0] < 0.1
    assert relief(np.array([[0.0, 0.0, -0.2]]))([[0.25, 0.25]])[0] == pytest.approx(MIN_HEIGHT, abs=1e-6)


def test_manifolds_follow_the_relief():
    torch.manual_seed(0)
    body = default_body()
    generator = Generator(CONFIG, body, torch.as_tensor(head_shoulder_vertices(body)))
    average = generator.body.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    # As many steps as a run takes, and a narrow M: well below the 0.12 that the manifolds span.
    assert fit_manifolds(generator, average, steps=400, seed=0) < 0.03


def test_close_layers_are_densest_at_the_relief():
    offsets = np.array([FRONT_OFFSET, 0.0, BACK_OFFSET])
    assert depth_share(offsets, 0.0) == pytest.approx([0, 0.028 / 0.12, 1])
    front, middle, back = depth_share(offsets, CLOSE.density)
    assert (front, back) == pytest.approx((0, 1), abs=1e-9) and 0.24 < middle < 0.3
    slopes = -np.diff(depth_share(np.linspace(FRONT_OFFSET, BACK_OFFSET, 101), CLOSE.density))
    assert np.argmin(slopes) == pytest.approx(23, abs=1)  # where the offset is 0, of 100 steps
    assert slopes.min() / slopes[-1] > 1.5
