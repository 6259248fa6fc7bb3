"""Tri-grid lookup, marching and importance sampling against golden values and by hand."""

import math

import pytest
import torch

from networks.trigrid import planes, volume
from networks.trigrid.mapping import ConditionedMapping, truncate
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden, weights_of


@requires_golden
def test_lookup():
    golden = read_golden("rendering")
    grid = golden["trigrid_planes"].unflatten(2, (4, 3))  # channel-major: feature f, depth d
    found = planes.read_planes(grid, golden["trigrid_points"], 1.0)
    torch.testing.assert_close(found, golden["trigrid_mean"], rtol=0, atol=1e-5)


def test_planes_of_channels():
    channels = torch.arange(3 * 4 * 2).float().view(1, 24, 1, 1)
    found = planes.as_planes(channels, 4, 2)
    assert found[0, 1, 3, 1].item() == 1 * 8 + 3 * 2 + 1


@requires_golden
def test_decoder():
    golden = read_golden("generator")
    decoder = planes.Decoder(32, 32)
    decoder.load_state_dict(weights_of(golden, "decoder."))
    density, colour = decoder(golden["decoder_features"].mean(1))
    torch.testing.assert_close(density[..., None], golden["decoder_sigma"], rtol=0, atol=1e-5)
    torch.testing.assert_close(colour, golden["decoder_rgb"], rtol=0, atol=1e-5)


@requires_golden
def test_marching():
    golden = read_golden("rendering")
    depths = golden["march_depths"][..., 0]
    found = volume.march(golden["march_colours"], golden["march_densities"][..., 0], depths)
    torch.testing.assert_close(found.colour, golden["march_rgb"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.depth[..., None], golden["march_depth"], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.weights[..., None], golden["march_weights"], rtol=0, atol=1e-5)


@requires_golden
def test_importance():
    golden = read_golden("rendering")
    depths, weights = golden["march_depths"][..., 0], golden["march_weights"][..., 0]
    found = volume.importance_depths(depths, weights, torch.linspace(0, 1, 8).expand(1, 6, 8))
    torch.testing.assert_close(found[..., None], golden["importance_depths"], rtol=0, atol=1e-5)
    joined = torch.cat([depths, found], -1)
    torch.testing.assert_close(
        volume.in_order(joined.argsort(-1), joined)[..., None], golden["unified_depths"], rtol=0, atol=1e-5
    )


def test_an_opaque_sample_hides_what_is_behind():
    """Two intervals of 0.5: the first nearly clear, the second nearly opaque."""
    colours = torch.tensor([[[[0.0], [0.0], [1.0]]]])
    densities, depths = torch.tensor([[[-100.0, -100.0, 300.0]]]), torch.tensor([[[1.0, 1.5, 2.0]]])
    found = volume.march(colours, densities, depths)
    alpha = 1 - math.exp(-(100 - 1) * 0.5)  # the mean density of the second interval is 100
    assert found.weights[0, 0].tolist() == pytest.approx([0.0, alpha], abs=1e-6)
    assert found.colour.item() == pytest.approx(0.5) and found.depth.item() == pytest.approx(1.75)
    assert found.mask.item() == pytest.approx(1.001, abs=1e-6)


def test_empty_rays_have_a_depth():
    empty = volume.march(torch.zeros(1, 1, 3, 1), torch.full((1, 1, 3), -1e4), torch.tensor([[[1.0, 2.0, 3.0]]]))
    assert empty.alpha.item() == 0 and empty.depth.item() == 3.0 and empty.mask.item() == pytest.approx(-0.001)


def test_stratified_depths():
    found = volume.stratified_depths(1.0, 3.0, torch.tensor([0.0, 0.5, 1.0]))
    assert found.tolist() == [1.0, 2.5, 4.0]


@requires_golden
def test_mapping():
    golden = read_golden("generator")
    mapping = ConditionedMapping(16, 31, 32)
    mapping.load_state_dict(weights_of(golden, "backbone.mapping."))
    w = mapping(golden["z"], torch.cat([golden["cond_c"], golden["cond_p"]], -1))
    torch.testing.assert_close(w, golden["ws"], rtol=0, atol=1e-5)
    ws = w[:, None].expand(-1, 6, -1)
    torch.testing.assert_close(truncate(ws, mapping.w_avg, 0.6, 3), golden["ws_truncated"], rtol=0, atol=1e-5)


def test_mean_w_follows_slowly():
    mapping = ConditionedMapping(2, 3, 4)
    mapping.track(torch.ones(5, 4))
    assert mapping.w_avg.tolist() == pytest.approx([0.002] * 4, rel=1e-4)
