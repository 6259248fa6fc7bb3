"""DualStyleUNet against the released code, stage by stage."""

import pytest
import torch
from torch.nn import functional as F

from networks.gaussian.style_layers import from_wavelets, to_wavelets
from networks.gaussian.style_unet import DualStyleUNet, UNetConfig, ViewFeatures
from networks.stylegan_layers import upsample
from tests.networks.gaussian.golden import golden, needs_golden

TOLERANCE = 1e-4  # values up to 7, sums in another order


def load(module, data, prefix):
    """Weights under the released names; what is not a weight of ours is a constant of theirs."""
    state = {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}
    module.load_state_dict(state)
    return module


@needs_golden
def test_golden_without_views():
    data = golden("style_unet", torch.float32)
    net = DualStyleUNet(UNetConfig(size=32, widths=(12, 12, 12), style_dim=16), 3, 3)
    front, back = load(net, data, "state.")(data["input"], style=data["style"])
    assert torch.allclose(torch.cat([front, back], 1), data["output"], atol=TOLERANCE)


@needs_golden
@torch.no_grad()
def test_golden_stages_with_views():
    data = golden("style_unet_views", torch.float32)
    config = UNetConfig(size=64, widths=(14, 12, 12, 10, 10, 8, 6), style_dim=16)
    net = load(DualStyleUNet(config, 3, 3), data, "state.")
    views = load(ViewFeatures(6, config.view_width), data, "view.")
    features = [views(data[f"cosine_{side}"]) for side in ("front", "back")]
    for side, feature in zip(("front", "back"), features, strict=True):
        assert torch.allclose(feature, data[f"view_feature_{side}"], atol=TOLERANCE)
    w = net.style(data["style"] * torch.rsqrt(data["style"].square().mean(-1, keepdim=True) + 1e-8))
    assert torch.allclose(w, data["w"], atol=TOLERANCE)
    for k, found in enumerate(net.encode(data["input"])):
        assert torch.allclose(found, data[f"encoder_{k}"], atol=TOLERANCE), k
    front, back = net(data["input"], (features[0], features[1]), data["style"])
    assert torch.allclose(torch.cat([front, back], 1), data["output"], atol=TOLERANCE)
    front, back = net(data["input"], style=data["style"])
    assert torch.allclose(torch.cat([front, back], 1)[..., ::2, ::2], data["output_without_view"], atol=TOLERANCE)


def test_wavelets_and_scaling():
    """Haar's are inverted exactly; a constant stays one when doubled, but at the border."""
    x = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    assert to_wavelets(x).shape == (2, 12, 4, 3)
    assert torch.allclose(from_wavelets(to_wavelets(x)), x, atol=1e-6)
    assert torch.allclose(to_wavelets(x)[:, :3], 2 * F.avg_pool2d(x, 2), atol=1e-6)
    assert torch.allclose(upsample(torch.ones(1, 1, 6, 6))[..., 2:-2, 2:-2], torch.ones(8, 8), atol=1e-6)


def test_published_size():
    """74.5 million weights (on no device: nothing is made)."""
    with torch.device("meta"):
        net = DualStyleUNet(UNetConfig(), 3, 3)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(74.5e6, abs=0.1e6)
    assert net.noises.noise_11.shape == (1, 1, 512, 512)


def test_odd_sizes_are_refused():
    with pytest.raises(
        ValueError, match=r"size: expected a multiple of 2\^2 for 3 widths, at least two of them, found 6"
    ):
        UNetConfig(size=6, widths=(4, 4, 4))
