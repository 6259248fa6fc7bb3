"""The networks whose features tell how alike two sets of pictures are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from networks import perceptual
from networks.person.face_recon import FACE_RECON_FILE, load_face_recon
from torch_utils.assets import find_asset
from torch_utils.checkpoint import load_raw
from torch_utils.misc import UserError, file_sha256
from training.metrics.random_features import RandomFeatures

DETECTORS = ("inception", "efficientnet", "attributes", "random")
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
INCEPTION_SHA256 = "6726825d"  # how the file's sha256 begins


class Detector(NamedTuple):
    """Pictures [B, 3, H, W] uint8 -> features [B, D] float32, on the CPU.

    ``frechet`` and ``kernel`` are what distances between its features are called: only Inception's are FID and KID.
    """

    name: str
    checksum: str  # of its weights
    width: int  # D
    frechet: str
    kernel: str
    features: Callable[[Tensor], Tensor]


def load_detector(
    name: str,
    device: torch.device,
    *,
    inception_file: str | Path | None = None,
    face_recon_file: str | Path = FACE_RECON_FILE,
) -> Detector:
    """A detector by name.

    Args:
        name: ``inception`` (the weights of 2015, through torch-fidelity), ``efficientnet`` (EfficientNet-Lite0 of
            ImageNet, an optional package), ``attributes`` (the face reconstruction net of the open face), or ``random``
            (an untrained net; its numbers compare only with each other).
        device: where it runs.
        inception_file: None: where torch.hub would keep it.
        face_recon_file: of ``attributes``.

    Raises:
        UserError: no such detector, or its weights are missing or are not what they should be.
    """
    if name == "inception":
        return _inception(Path(inception_file or default_inception_file()), device)
    if name == "efficientnet":
        return _efficientnet(device)
    if name == "attributes":
        return _attributes(face_recon_file, device)
    if name == "random":
        net = RandomFeatures().to(device)
        return Detector("random", "seed 0", 160, "FD-random", "KD-random", _on(device, lambda x: net(x / 127.5 - 1)))
    raise UserError(f"--detector: expected one of {', '.join(DETECTORS)}, found '{name}'")


def default_inception_file() -> Path:
    """Where torch-fidelity and torch.hub keep the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def _inception(path: Path, device: torch.device) -> Detector:
    """The pool features, with the resizing of the original TensorFlow graph."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    if not path.is_file():
        raise UserError(
            f"{path}: no Inception weights there, by which FID and KID are defined; put {INCEPTION_FILE} (sha256 "
            f"{INCEPTION_SHA256}..., from {INCEPTION_URL}) in that place, name the file with --inception, or use "
            "another --detector: efficientnet (FD-lite0, KD-lite0), attributes (FD-attr, KD-attr)"
        )
    found = file_sha256(path)
    if not found.startswith(INCEPTION_SHA256):
        raise UserError(f"{path}: expected Inception weights with sha256 {INCEPTION_SHA256}..., found {found[:8]}...")
    load_raw(path)  # refuses files that would run code, which torch-fidelity would let them
    net = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path)).to(device)
    return Detector("inception", found, 2048, "FID", "KID", _on(device, lambda x: net(x)[0], torch.uint8))


def _efficientnet(device: torch.device) -> Detector:
    net = perceptual.load_efficientnet("--detector efficientnet").to(device)
    features = _on(device, lambda x: net(x / 127.5 - 1))
    return Detector("efficientnet", perceptual.SHA256, perceptual.WIDTH, "FD-lite0", "KD-lite0", features)


def _attributes(path: str | Path, device: torch.device) -> Detector:
    path = find_asset(path)  # as it was found for training
    net = load_face_recon(path).to(device)
    with torch.no_grad():
        width = net.features(torch.zeros(1, 3, 64, 64, device=device)).shape[1]
    features = _on(device, lambda x: net.features(x / 127.5 - 1))
    return Detector("attributes", file_sha256(path), width, "FD-attr", "KD-attr", features)


def _on(device: torch.device, net: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32):
    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return net(images.to(device, dtype)).float().cpu()

    return features
