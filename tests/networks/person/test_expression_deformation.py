"""D^e: zero at the start, a FiLM-SIREN afterwards."""

import pytest
import torch

from networks.person.expression_deformation import ExpressionDeformation
from tests.networks.helpers import max_error


@pytest.fixture
def deformation() -> ExpressionDeformation:
    torch.manual_seed(0)
    return ExpressionDeformation(80 + 64, 8)


def make_arguments(deformation: ExpressionDeformation, batch: int = 2):
    points = 0.1 * torch.randn(batch, 6, 3)
    return points, deformation.style(torch.randn(batch, 80), torch.randn(batch, 64))


def open_output(deformation: ExpressionDeformation) -> None:
    torch.nn.init.normal_(deformation.output.weight)
    torch.nn.init.normal_(deformation.output.bias)


def test_no_displacement_at_the_start(deformation):
    points, style = make_arguments(deformation)
    displacement = deformation(points, style)
    assert displacement.shape == points.shape
    assert displacement.abs().max() == 0


def test_the_unfolded_formula(deformation):
    """Three FiLM layers on [warp(x), 0, 0, 0, 0]; the first three of seven outputs are the displacement."""
    open_output(deformation)
    points, style = make_arguments(deformation)
    x = torch.cat([points / 0.12, torch.zeros(2, 6, 4)], -1)
    for i, layer in enumerate(deformation.layers):
        part = slice(8 * i, 8 * (i + 1))
        frequency, phase = style.frequency[:, None, part] * 15 + 30, style.phase[:, None, part]
        x = torch.sin(frequency * (x @ layer.weight.T + layer.bias) + phase)
    expected = (x @ deformation.output.weight.T + deformation.output.bias)[..., :3]
    assert max_error(deformation(points, style), expected) < 1e-4  # sines of arguments near 50 in float32


def test_style_is_the_halves_of_the_mapping(deformation):
    z_id, z_exp = torch.randn(2, 80), torch.randn(2, 64)
    style = deformation.style(z_id, z_exp)
    both = deformation.mapping(torch.cat([z_id, z_exp], 1))
    assert torch.equal(style.frequency, both[:, :24]) and torch.equal(style.phase, both[:, 24:])


def test_identity_and_expression_both_matter(deformation):
    open_output(deformation)
    points, z_id, z_exp = 0.1 * torch.randn(1, 6, 3), torch.randn(2, 80), torch.randn(2, 64)

    def displace(i: int, e: int) -> torch.Tensor:
        return deformation(points, deformation.style(z_id[i, None], z_exp[e, None]))

    assert max_error(displace(0, 0), displace(1, 0)) > 0.01
    assert max_error(displace(0, 0), displace(0, 1)) > 0.01


def test_people_of_a_batch_are_independent(deformation):
    open_output(deformation)
    points, style = make_arguments(deformation)
    alone = deformation(points[1:], type(style)(style.frequency[1:], style.phase[1:]))
    assert max_error(deformation(points, style)[1:], alone) < 1e-4


def test_every_parameter_learns(deformation):
    open_output(deformation)
    deformation(*make_arguments(deformation)).square().sum().backward()
    for name, parameter in deformation.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert deformation.layers[0].weight.grad[:, 3:].abs().max() == 0  # the padding says nothing
    assert deformation.output.weight.grad[3:].abs().max() == 0
