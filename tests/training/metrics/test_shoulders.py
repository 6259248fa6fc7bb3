"""Shoulder distance: by hand, of models that obey or do not, and of true drawings."""

import math

import pytest
import torch

from tests.training.tiny_run import make_sampler
from training.metrics.renderers import DrawingRenderer, Rendered, draw_inputs
from training.metrics.scene import Scene
from training.metrics.shoulders import (
    LIFTS,
    body_outline,
    coverage,
    edge_height,
    shoulder_bands,
    shoulder_distance,
    with_shoulders,
)

CPU = torch.device("cpu")
SIZE = 64
DRAWING = DrawingRenderer({"portrait": SIZE, "face": SIZE})
INPUTS = draw_inputs(make_sampler(40, 0), range(4), 0)


class Bodies:
    """Bare bodies: as asked for, or with shoulders at ``share`` of the lift."""

    name, size, body = "bodies", DRAWING.size, DRAWING.body

    def __init__(self, share: float):
        self.share = share

    def __call__(self, inputs, views):
        eulers = inputs.joint_eulers.clone()
        eulers[:, [1, 2, 4, 5]] *= self.share
        alpha = body_outline(self.body, inputs._replace(joint_eulers=eulers), SIZE)[None]
        return {view: Rendered(alpha[:, None].expand(1, 3, -1, -1), alpha, alpha) for view in views}


def measure(renderer) -> dict[str, float]:
    return shoulder_distance(Scene(renderer, None, INPUTS, CPU))


def test_edge_height_counts_from_the_lower_border():
    alpha = torch.zeros(6, 5)
    alpha[4:] = 1
    alpha[3, 1], alpha[1, 2] = 0.25, 1  # a soft edge, and something above a gap
    assert edge_height(alpha, (0.5, 1.9)).item() == 2.25
    assert edge_height(alpha, (0.0, 2.0)).item() == pytest.approx((2 + 2.25 + 5) / 3)
    assert edge_height(alpha, (-0.5, 2.0)).isfinite() and edge_height(alpha, (-1.0, 2.0)).isnan()
    assert edge_height(alpha, (3.0, 5.0)).isnan() and edge_height(alpha, (3.2, 3.8)).isnan()


def test_coverage_by_alpha_or_by_colour_before_a_painted_backdrop():
    alpha, image = torch.zeros(1, 32, 32), torch.ones(1, 3, 32, 32)
    alpha[0, 16:] = 0.75
    image[0, 0, 16:], image[0, 2, 8:16] = -1.0, 0.75  # a strong colour below, nearly white above it
    assert torch.equal(coverage(Rendered(image, alpha, alpha)), alpha[0])
    found = coverage(Rendered(image, torch.ones(1, 32, 32), alpha))
    assert found[:, 0].tolist() == [0.0] * 8 + [0.5] * 8 + [1.0] * 16


def test_lifted_shoulders_go_up_on_either_side():
    posed = with_shoulders(INPUTS, (0.2, 0.1))
    angles = [[0.2, 0, 0], [-0.1, 0, 0], [-0.2, 0, 0], [0.1, 0, 0]]  # collars, then shoulders
    assert torch.allclose(posed.joint_eulers[:, [1, 2, 4, 5]], torch.tensor(angles).expand(4, 4, 3))
    assert torch.equal(posed.joint_eulers[:, [0, 3]], INPUTS.joint_eulers[:, [0, 3]])
    front = INPUTS.part(slice(0, 1))._replace(
        camera=torch.full((1, 2), math.pi / 2), joint_eulers=torch.zeros(1, 6, 3)
    )  # fmt: skip
    bands, millimetres = shoulder_bands(DRAWING.body, front, SIZE)
    (left_first, left_last), (right_first, right_last) = bands
    assert right_first < right_last < SIZE / 2 < left_first < left_last  # the person's left is the picture's right
    # 12 degrees of view at 1.9 units, 1177.5 mm each, over 63 pixels: 7.5 mm a pixel.
    assert millimetres.item() == pytest.approx(7.5, abs=0.15)
    outlines = [body_outline(DRAWING.body, with_shoulders(front, lift), SIZE) for lift in (LIFTS[0], (0.0, 0.0))]
    left, right = ((edge_height(outlines[0], band) - edge_height(outlines[1], band)).item() for band in bands)
    assert left * millimetres > 5 and right == pytest.approx(0, abs=0.02)


def test_an_obedient_body_a_lazy_one_and_a_deaf_one():
    obedient, lazy, deaf = (measure(Bodies(share)) for share in (1.0, 0.5, 0.0))
    assert obedient["distance_mm"] == pytest.approx(0, abs=1e-4) and obedient["gain"] == pytest.approx(1, abs=1e-5)
    assert 0.35 < lazy["gain"] < 0.6  # nearly linear in the angle
    assert deaf["gain"] == pytest.approx(0, abs=1e-6)
    assert deaf["distance_mm"] == pytest.approx(deaf["asked_mm"], rel=1e-5) and deaf["asked_mm"] > 3


def test_true_drawings_are_a_ceiling_worth_the_name():
    found = measure(DRAWING)
    assert found["distance_mm"] < 0.25 * found["asked_mm"]  # measured: 0.13 of 12 people
    assert found["gain"] == pytest.approx(1, abs=0.25)  # measured: 1.09; clothes are wider than the body
