"""D of portraits whose poses nobody labelled: it finds them itself and judges with them (3DPortraitGAN, section 3.3).

A StyleGAN2 trunk sees the picture, the raw picture before super-resolution and the mask. E_D reads the pose from its
last features; the score is conditioned on camera and pose. Parameters have the released model's names.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.person.pose_predictors import PosePredictor
from networks.stylegan_layers import EqualConv2d, EqualLinear
from networks.trigrid.camera_labels import (
    LABEL_SIZE,
    POSE_SIZE,
    direction_harmonics,
    is_left,
    mirror_label,
    mirror_pose,
)
from networks.trigrid.mapping import ConditionedMapping
from networks.trigrid.superresolution import resized

CHANNELS = 7  # picture, raw picture, mask
MAPPING_LAYERS = 8
HALF = math.sqrt(0.5)  # what both ways through a block are scaled by


class Observed(NamedTuple):
    """What D sees of portraits."""

    image: Tensor  # [B, 3, H, H] in -1..1
    raw: Tensor  # [B, 3, R, R] in -1..1
    mask: Tensor  # [B, 1, R, R] in 0..1

    def mirrored_where(self, rows: Tensor) -> Observed:
        """Mirror images of the rows [B] bool."""
        return Observed(*(torch.where(rows[:, None, None, None], part.flip(-1), part) for part in self))


class PoseAwareJudgement(NamedTuple):
    score: Tensor  # [B, 1]
    pose: Tensor  # [B, 6] axis-angle of neck and head, as E_D sees it


class Told(NamedTuple):
    """What E_D's last layers read poses off; views from the left are mirrored."""

    features: Tensor  # [B, 16 C] of the trunk
    camera: Tensor  # [B, 25]; those of views from the left are mirrored, too, where D folds them
    left: Tensor  # [B, 1] bool


def folded(camera: Tensor, left: Tensor) -> Tensor:
    """Labels [B, 25], mirrored where ``left`` [B, 1] says so."""
    return torch.where(left, mirror_label(camera), camera)


def turned_back(pose: Tensor, left: Tensor) -> Tensor:
    """Poses [B, 6], mirrored where ``left`` [B, 1] says so: to and from what E_D's last layers say."""
    return torch.where(left, mirror_pose(pose), pose)


class DiscriminatorBlock(nn.Module):
    """Residual, to half the size.

    Args:
        seen: channels of the picture, for the first block; else 0.
    """

    def __init__(self, in_channels: int, out_channels: int, seen: int = 0):
        super().__init__()
        if seen:
            self.fromrgb = EqualConv2d(seen, in_channels, 1)
        self.conv0 = EqualConv2d(in_channels, in_channels, 3)
        self.conv1 = EqualConv2d(in_channels, out_channels, 3, down=True)
        self.skip = EqualConv2d(in_channels, out_channels, 1, down=True, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H/2, W/2]."""
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(x)
        return (self.conv1(self.conv0(x)) + self.skip(x)) * HALF


class Epilogue(nn.Module):
    """From 4 x 4 features to a score.

    Args:
        group: samples whose deviation is a feature.
    """

    def __init__(self, channels: int, mapped: int, group: int):
        super().__init__()
        self.conv = EqualConv2d(channels + 1, channels, 3)
        self.fc = EqualLinear(16 * channels, channels, activate=True)
        self.out = EqualLinear(channels, mapped)
        self.group = group

    def features(self, x: Tensor) -> Tensor:
        """[B, C, 4, 4] -> [B, 16 C]."""
        return self.conv(torch.cat([x, deviation(x, self.group)], 1)).flatten(1)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """features [B, 16 C], condition [B, mapped] -> score [B, 1]."""
        score = self.out(self.fc(features)) * condition
        return score.sum(1, keepdim=True) / math.sqrt(condition.shape[1])


def deviation(x: Tensor, group: int) -> Tensor:
    """Mean standard deviation within groups of ``group`` samples i, i + n, i + 2 n ... [B, C, H, W] -> [B, 1, H, W]."""
    batch, _, height, width = x.shape
    group = min(group, batch)
    if batch % group:
        raise ValueError(f"expected a batch that groups of {group} divide, found {batch}")
    parts = x.unflatten(0, (group, -1))
    spread = (parts.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # [B / group]
    return spread.repeat(group)[:, None, None, None].expand(-1, 1, height, width)


class PoseAwareDiscriminator(nn.Module):
    """See the module's docstring.

    Args:
        image_size: pixels a side, a power of 2 from 8 on.
        channel_base, max_channels: features of R pixels a side have min(channel_base / R, max_channels) channels.
        pose_widths: inner layers of E_D.
        group: of the deviation.
        fold_mirror: views from the left are mirrored once, with their cameras and poses, for the score and for E_D
            alike: half of the work, and one side of people to know.
        camera_harmonics: above 0, E_D's last layer is a Fourier series of this order in the angle that the camera
            stands at: which way of a head's outline tells of a turn depends on the side that it is seen from.
    """

    def __init__(
        self, image_size: int, *, channel_base: int = 32768, max_channels: int = 512,
        pose_widths: tuple[int, ...] = (2048, 512, 128, 32), group: int = 4, fold_mirror: bool = False,
        camera_harmonics: int = 0,
    ):  # fmt: skip
        super().__init__()
        if image_size < 8 or image_size & (image_size - 1):
            raise ValueError(f"image_size: expected a power of 2 from 8 on, found {image_size}")
        self.image_size, self.fold_mirror, self.camera_harmonics = image_size, fold_mirror, camera_harmonics
        self.sizes = [image_size >> k for k in range(image_size.bit_length() - 3)]  # down to 8
        widths = {size: min(channel_base // size, max_channels) for size in (*self.sizes, 4)}
        for size in self.sizes:
            seen = CHANNELS if size == image_size else 0
            self.add_module(f"b{size}", DiscriminatorBlock(widths[size], widths[size // 2], seen))
        self.b4 = Epilogue(widths[4], widths[4], group)
        self.mapping = ConditionedMapping(0, LABEL_SIZE + POSE_SIZE, widths[4], layers=MAPPING_LAYERS)
        factors = 2 + 2 * camera_harmonics if camera_harmonics else 0
        self.pose_branch = PosePredictor(16 * widths[4] + LABEL_SIZE, pose_widths, factors=factors)

    def features(self, seen: Observed) -> Tensor:
        """The trunk's last features [B, 16 C]."""
        small = [resized(part, self.image_size) for part in (seen.raw, 2 * seen.mask - 1)]
        x = torch.cat([seen.image, *small], 1)
        for size in self.sizes:
            x = getattr(self, f"b{size}")(x)
        return self.b4.features(x)

    def predict_pose(self, seen: Observed, camera: Tensor) -> Tensor:
        """E_D: poses [B, 6] of portraits before cameras [B, 25]. Those from the left are mirrored, their labels not
        unless ``fold_mirror``."""
        told = self.told(seen, camera)
        return turned_back(self.read_pose(told), told.left)

    def forward(self, seen: Observed, camera: Tensor, pose: Tensor | None = None) -> PoseAwareJudgement:
        """Scores of portraits before cameras [B, 25], conditioned on ``pose`` [B, 6], by default on E_D's, detached."""
        told = self.told(seen, camera)
        found = turned_back(self.read_pose(told), told.left)
        pose = found.detach() if pose is None else pose
        features = told.features
        if self.fold_mirror:
            camera, pose = told.camera, turned_back(pose, told.left)
        else:
            features = self.features(seen)
        condition = self.mapping(None, torch.cat([camera, pose], -1))
        return PoseAwareJudgement(self.b4(features, condition), found)

    def told(self, seen: Observed, camera: Tensor) -> Told:
        """What E_D's last layers are told of portraits before cameras [B, 25]."""
        left = is_left(camera)
        features = self.features(seen.mirrored_where(left))
        left = left[:, None]
        return Told(features, folded(camera, left) if self.fold_mirror else camera, left)

    def read_pose(self, told: Told, dropout: float = 0.0) -> Tensor:
        """Poses [B, 6]; of views from the left those of their mirror images. ``dropout``: share of the features, and of
        what inner layers say, that is left out."""
        factors = direction_harmonics(told.camera, self.camera_harmonics) if self.camera_harmonics else None
        features = F.dropout(told.features, dropout)
        return self.pose_branch(torch.cat([features, told.camera], -1), factors, dropout)
