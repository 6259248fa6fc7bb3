"""How different two pictures of a person are: by a net that knows photographs, or by our own that knows faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from networks.perceptual import load_efficientnet, perceptual_distance
from networks.person.face_recon import FACE_RECON_FILE, SmallFaceRecon, load_face_recon
from torch_utils.misc import UserError

Kind = Literal["efficientnet", "face", "none"]
KINDS = get_args(Kind)
LEAST_SIZE = 32  # pixels a side of what the nets look at
Distance = Callable[[Tensor, Tensor], Tensor]  # [B, 3, H, W] in -1..1 twice -> [B]


def load_distance(kind: Kind | None, device: torch.device) -> tuple[str, Distance | None]:
    """A perceptual distance and its name; gradients flow to the pictures.

    Args:
        kind: which; None: EfficientNet's where its weights are installed, else that of the face net.

    Raises:
        UserError: the weights asked for are not to be had.
    """
    if kind in (None, "efficientnet"):
        try:
            net = load_efficientnet("--perceptual efficientnet").to(device)
            return "efficientnet", lambda a, b: perceptual_distance(net, a, b)
        except UserError:
            if kind is not None:
                raise
    if kind == "none":
        return "none", None
    face = load_face_recon(FACE_RECON_FILE).to(device)
    assert isinstance(face, SmallFaceRecon)
    return "face", lambda a, b: face_distance(face, a, b)


def face_distance(net: SmallFaceRecon, a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the features of all but the last stage, over their own mean: [B].

    A stand-in where no net that knows photographs is at hand.
    """
    found = []
    for stage in net.stages[:-1]:
        a, b = stage(a), stage(b)
        found.append((a - b).abs().mean((1, 2, 3)) / b.detach().abs().mean((1, 2, 3)).clamp_min(1e-6))
    return torch.stack(found).mean(0)
