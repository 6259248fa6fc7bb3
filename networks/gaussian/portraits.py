"""Avatars of either kind: their files, and what a camera sees of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from networks.gaussian.avatar import CONVENTION as WITH_NETS
from networks.gaussian.avatar import GaussianAvatar, Pose, View, unpack_avatar
from networks.gaussian.linear import CONVENTION as LINEAR
from networks.gaussian.linear import LinearAvatar, unpack_linear

CONVENTIONS = (WITH_NETS, LINEAR)  # of files that are an avatar
Avatar = GaussianAvatar | LinearAvatar


class Seen(NamedTuple):
    image: Tensor  # [3, H, W] in -1..1, on white
    alpha: Tensor  # [H, W]
    depth: Tensor  # [H, W] along the ray, canonical units; 0 where nothing is


def read_avatar(data: Mapping[str, Any], where: str) -> tuple[Avatar, dict[str, Any]]:
    """Of a file's data, and what it says about itself. Raises UserError: it holds none."""
    if data.get("convention") == LINEAR:
        return unpack_linear(dict(data), where)
    return unpack_avatar(dict(data), where)


def seen(avatar: Avatar, pose: Pose, view: View) -> Seen:
    """What nets add, or what is linear in their place, is that of the nearest poses and expressions of training."""
    picture = avatar.driven(pose, view.origin).draw(view, 1.0)
    image = picture.image.permute(2, 0, 1).clamp(0, 1) * 2 - 1
    depth = picture.depth / picture.alpha.clamp(min=1e-6) * _stretch(view)
    return Seen(image, picture.alpha, torch.where(picture.alpha > 0, depth, 0.0))


def _stretch(view: View) -> Tensor:
    """[H, W]: how much longer the way along a pixel's ray is than its z."""
    fx, fy, cx, cy = view.intrinsics
    height, width = view.size
    x = (torch.arange(width, device=fx.device) + 0.5 - cx) / fx
    y = (torch.arange(height, device=fx.device) + 0.5 - cy) / fy
    return (1 + x.square() + y[:, None].square()).sqrt()
