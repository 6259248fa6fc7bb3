"""LPIPS (Zhang et al. 2018) by its authors' optional package, with the weights of VGG that it is defined by."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torch_utils.assets import OPTIONAL
from torch_utils.checkpoint import load_raw, load_weights
from torch_utils.misc import UserError, file_sha256

VGG_FILE = "vgg16-397923af.pth"
VGG_URL = f"https://download.pytorch.org/models/{VGG_FILE}"
VGG_SHA256 = "397923af"  # how the file's sha256 begins


def default_vgg_file() -> Path:
    """Where torchvision and torch.hub keep the weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE


def load_lpips(device: torch.device, vgg_file: Path | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS, version 0.1, on VGG: pictures [B, 3, H, W] in -1..1, RGB, twice -> [B]. Nothing is fetched.

    Raises:
        UserError: the package or VGG's weights are not there, or they are others.
    """
    path = vgg_file or default_vgg_file()
    if not path.is_file():
        raise UserError(f"LPIPS needs VGG's weights: put {VGG_FILE} (sha256 {VGG_SHA256}..., {VGG_URL}) at {path}")
    if not (found := file_sha256(path)).startswith(VGG_SHA256):
        raise UserError(f"{path}: expected VGG's weights with sha256 {VGG_SHA256}..., found {found[:8]}...")
    try:
        lpips: Any = importlib.import_module("lpips")
    except ImportError as error:
        raise UserError(f"LPIPS needs the package lpips: {OPTIONAL} ({error})") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, about how the package calls it
        net = lpips.LPIPS(net="vgg", version="0.1", pnet_rand=True, verbose=False)
    state = load_raw(path)
    # The package cuts VGG's layers into slices, under the numbers that they have there.
    own = {name: state.get(f"features.{name.partition('.')[2]}") for name in net.net.state_dict()}
    load_weights(net.net, own, str(path))
    net = net.to(device).eval().requires_grad_(False)
    return lambda a, b: net(a, b).flatten()
