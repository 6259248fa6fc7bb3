"""phi against its formula, layer by layer."""

import math

import pytest
import torch

from networks.manifold.radiance import RadianceGenerator, RadianceStyle
from tests.networks.helpers import max_error

WIDTH, FEATURES = 8, 5


@pytest.fixture
def radiance() -> RadianceGenerator:
    torch.manual_seed(0)
    return RadianceGenerator(160, 12, WIDTH, FEATURES).double()


def make_arguments(radiance: RadianceGenerator, batch: int = 2):
    latent = torch.randn(batch, 160, dtype=torch.float64)
    return 0.1 * torch.randn(batch, 6, 3, dtype=torch.float64), radiance.style(latent)


def film(layer, x, style: RadianceStyle, i: int):
    part = slice(WIDTH * i, WIDTH * (i + 1))
    frequency, phase = 15 * style.frequency[:, None, part] + 30, style.phase[:, None, part]
    return torch.sin(frequency * (x @ layer.weight.T + layer.bias) + phase)


def test_the_unfolded_formula(radiance):
    """Heads from layer 1 on are summed; the last colour head reads an extra layer on [direction, x]."""
    points, style = make_arguments(radiance)
    x = film(radiance.layers[0], points / 0.12, style, 0)
    sigma, rgb, feature = 0, 0, 0
    for i in range(1, 8):
        x = film(radiance.layers[i], x, style, i)
        sigma = sigma + radiance.to_sigma[i - 1](x)[..., 0]
        feature = feature + radiance.to_feature[i - 1](x)
        if i < 7:
            rgb = rgb + radiance.to_rgb[i - 1](x)
    direction = torch.tensor([0.0, 0.0, -1.0]).expand(2, 6, 3)
    rgb = rgb + radiance.to_rgb[6](film(radiance.colour_layer, torch.cat([direction, x], -1), style, 8))
    sample = radiance(points, style)
    assert max_error(sample.rgb, 1 / (1 + torch.exp(-rgb))) < 1e-9
    assert max_error(sample.alpha, 1 - torch.exp(-0.04 * torch.log1p(torch.exp(sigma)))) < 1e-9
    assert max_error(sample.feature, feature) < 1e-9


def test_alpha_of_known_sigmas(radiance):
    """With silent heads sigma is the sum of the seven biases: alpha = 1 - exp(-0.04 softplus(7 b))."""
    points, style = make_arguments(radiance)
    for head in radiance.to_sigma:
        torch.nn.init.zeros_(head.weight)
    for bias, expected in ((0.0, 1 - math.exp(-0.04 * math.log(2))), (100.0, 1 - math.exp(-28)), (-100.0, 0.0)):
        for head in radiance.to_sigma:
            torch.nn.init.constant_(head.bias, bias)
        assert radiance(points, style).alpha.detach().flatten().tolist() == pytest.approx([expected] * 12, abs=1e-12)


def test_hardened_opacity(radiance):
    """sigma is three times as far from that of alpha 1/2, log(2) / 0.04, at every point; colours stay."""
    points, style = make_arguments(radiance)
    before = radiance._run(points, radiance.styled(style))
    radiance.harden(3.0)
    after = radiance._run(points, radiance.styled(style))
    half = math.log(2) / 0.04
    torch.testing.assert_close(after[..., 3] - half, 3 * (before[..., 3] - half), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(after[..., :3], before[..., :3])


def test_opacity_at_the_start(radiance):
    """Sigma starts near 21, where alpha = 1 - exp(-0.84) = 0.568."""
    sample = radiance(*make_arguments(radiance))
    assert sample.alpha.mean().item() == pytest.approx(0.568, abs=0.02)


def test_style_is_the_halves_of_the_mapping(radiance):
    latent = torch.randn(2, 160, dtype=torch.float64)
    style, both = radiance.style(latent), radiance.mapping(latent)
    assert both.shape == (2, 2 * 9 * WIDTH)
    assert torch.equal(style.frequency, both[:, : 9 * WIDTH]) and torch.equal(style.phase, both[:, 9 * WIDTH :])


def test_chunks_and_people_are_independent(radiance):
    points, style = make_arguments(radiance)
    whole = radiance(points, style)
    with torch.no_grad():
        part = radiance(points[1:, 2:], RadianceStyle(style.frequency[1:], style.phase[1:]))
    for ours, expected in zip(part, whole, strict=True):
        assert max_error(ours, expected[1:, 2:]) < 1e-12


def test_every_parameter_learns(radiance):
    sum(part.square().sum() for part in radiance(*make_arguments(radiance))).backward()
    for name, parameter in radiance.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_head_initialisation():
    torch.manual_seed(0)
    radiance = RadianceGenerator(160, 12, 96, FEATURES)
    bound = math.sqrt(6 / 96) / 25
    for head in (*radiance.to_sigma, *radiance.to_rgb):
        assert head.weight.abs().max() <= bound
        assert head.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)
    assert sum(head.bias.item() for head in radiance.to_sigma) == pytest.approx(21, abs=1e-5)
