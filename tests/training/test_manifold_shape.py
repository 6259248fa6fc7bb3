"""Where manifolds begin: the relief in closed form, and that M follows it."""

import numpy as np
import pytest
import torch

from networks.manifold.generator import Generator, GeneratorConfig
from networks.person.body_assets import default_body, head_shoulder_vertices
from training.manifold_shape import MAX_SLOPE, MIN_HEIGHT, fit_manifolds, relief

CONFIG = GeneratorConfig(image_size=64, lowres_size=16, num_manifolds=4, manifold_dim=32)


def test_relief_of_one_point_is_a_blurred_cone():
    height = relief(np.array([[0.0, 0.0, 0.1]]))
    far = height([[0.15, 0.0], [0.2, 0.0]])
    assert far[0] - far[1] == pytest.approx(0.05 * MAX_SLOPE, rel=0.05)  # the cone's slope, off its blurred tip
    assert height([[0.0, 0.0]])[0] < 0.1
    assert relief(np.array([[0.0, 0.0, -0.2]]))([[0.25, 0.25]])[0] == pytest.approx(MIN_HEIGHT, abs=1e-6)


def test_manifolds_follow_the_relief():
    torch.manual_seed(0)
    body = default_body()
    generator = Generator(CONFIG, body, torch.as_tensor(head_shoulder_vertices(body)))
    average = generator.body.canonical_vertices(torch.zeros(1, 10))[0].numpy()
    # As many steps as a run takes, and a narrow M: well below the 0.12 that the manifolds span.
    assert fit_manifolds(generator, average, steps=400, seed=0) < 0.03
