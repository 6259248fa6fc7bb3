"""U as an interpolation: by hand along a row, against phi's own maps, and that it can learn."""

import pytest
import torch
from torch.nn import functional as F

from networks.manifold.superresolution import ManifoldSuperResolution
from networks.saved_model import SavedModel, pack_model
from tests.training.tiny_run import ALONE, make_config, make_dataset, make_sampler
from torch_utils.checkpoint import save_checkpoint
from torch_utils.misc import UserError
from training.manifold_recipe import begin, train_step
from training.models import build_networks
from training.superresolution_start import fit_features, pass_features_through, start_as_interpolation

ROOM = {"feature_dim": 5, "sr_features": 10, "sr_up_channels": [8, 8], "superresolution": True}


def make_sr(up_channels: tuple[int, int] = (8, 8)) -> ManifoldSuperResolution:
    torch.manual_seed(0)
    return ManifoldSuperResolution(160, 16, 20, 16, 1, 4, up_channels)


def test_super_resolution_interpolates_features():
    """A logit in one texel spreads bilinearly, twice x2: by hand along a row."""
    sr = make_sr()
    mix = torch.zeros(4, 4)
    mix[3, 0] = 0.5
    pass_features_through(sr, mix)
    maps = torch.rand(1, 1, 20, 6, 6)
    maps[:, :, 3:8] = 0
    maps[0, 0, 3, :, 3] = 1.0  # opaque in the fourth column, in all rows: half of ...
    maps[0, 0, 4, :, 3] = 1.5  # ... red's logit of 2 there
    with torch.inference_mode():
        logits = torch.logit(sr(maps, sr.style(torch.randn(1, 160))))
    first = [0.0, 0.5, 1.5, 1.5, 0.5, 0.0]  # columns 4 to 9 at x2
    second = [0.75 * first[i // 2] + 0.25 * first[i // 2 - 1 + 2 * (i % 2)] for i in range(2, 10)]  # columns 10 to 17
    assert torch.allclose(logits[0, 0, 0, 12, 10:18], torch.tensor(second), atol=1e-5)
    assert logits[0, 0, 1:].abs().max() < 1e-6  # the other channels stay at 0


@pytest.mark.parametrize("up_channels", [(8, 8), (12, 10)])
def test_all_of_u_learns(up_channels):
    sr = make_sr(up_channels)
    pass_features_through(sr, torch.zeros(4, 4))
    optimizer = torch.optim.Adam(sr.parameters(), lr=1e-3)
    for _ in range(4):  # zeros in a row pass gradients one after the other
        optimizer.zero_grad()
        maps, style = torch.randn(2, 2, 20, 6, 6), sr.style(torch.randn(2, 160))
        sr(maps, style).square().sum().backward()
        optimizer.step()
    assert all(parameter.grad.abs().max() > 0 for parameter in sr.parameters())
    for conv in (*sr.up_convs, sr.hr_conv):
        assert (conv.weight.grad.flatten(1).abs().amax(1) > 0).all()


def test_features_are_logits_where_phi_is_linear_in_them():
    """Logits that are a linear function of the activations are found again."""
    phi = build_networks(make_config({"generator": {"feature_dim": 5}})).generator.radiance
    torch.manual_seed(0)
    width = sum(head.in_features for head in phi.to_feature)
    hidden, slope = torch.rand(3000, width) - 0.5, 0.3 * torch.randn(4, width)
    logits = hidden @ slope.T + 0.2
    with torch.no_grad():
        found, mix = fit_features(phi, hidden, torch.sigmoid(logits))
        parts = zip(phi.to_feature, hidden.chunk(len(phi.to_feature), 1), strict=True)
        by_heads = sum(head(x)[:, :4] for head, x in parts) + torch.sigmoid(logits) @ mix
    assert torch.allclose(found, logits, atol=5e-3)  # the ridge's share
    assert torch.allclose(by_heads, found, atol=1e-3)  # float32


def test_the_maps_are_phi_s_own_enlarged():
    config = make_config({"generator": ROOM | {"superresolution": False}})
    generator, sampler = build_networks(config).generator, make_sampler(5, 3)
    assert start_as_interpolation(generator, sampler, seed=0) < 0.02
    latents = sampler.draw(2, 7)
    with torch.inference_mode():
        style = generator.style(latents.z_id, latents.z_noise, psi=1.0)
        maps = generator.flat_radiance(style.radiance)
        found = generator.superresolution(maps, style.superresolution)
    expected = F.interpolate(maps[:, :, :4].flatten(0, 1), scale_factor=4, mode="bilinear").unflatten(0, maps.shape[:2])
    opaque = expected[:, :, 3:] > 0.5
    assert opaque.float().mean() > 0.1
    assert ((found - expected).abs() * opaque).sum() / (4 * opaque.sum()) < 0.02
    empty = expected[:, :, 3] == 0  # beyond the manifolds
    assert not empty.any() or found[:, :, 3][empty].mean() < 0.1


def test_stage_2_begins_and_learns_so(tmp_path):
    data = make_dataset(tmp_path / "data", size=64)
    first = build_networks(make_config({"generator": ROOM | {"superresolution": False}})).generator
    save_checkpoint(tmp_path / "latest", pack_model(SavedModel(first, None, {})))
    changes = {"stage": 2, "init_from": str(tmp_path / "latest"), "superresolution_init": "interpolation"}
    task, state = begin(make_config(changes | {"generator": ROOM, "losses": {"map_consistency": 1.0}}), data, ALONE)
    losses = train_step(task, state)
    state.reader.close()
    assert losses["map_consistency"] < 0.01


def test_u_without_room_is_refused():
    with pytest.raises(UserError, match="superresolution_init: expected random where feature_dim < 4"):
        make_config({"superresolution_init": "interpolation"})
