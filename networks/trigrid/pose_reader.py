"""E_D by itself: poses of neck and head off photographs whose cameras are known (3DPortraitGAN, section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from networks.trigrid.discriminator import Observed, PoseAwareDiscriminator
from networks.trigrid.pose_regressor import PoseRegressor
from networks.trigrid.superresolution import resized
from torch_utils.checkpoint import in_single_precision, load_weights
from torch_utils.misc import UserError

CONVENTION = "trigrid_pose_reader"
SETTINGS = ("image_size", "channel_base", "max_channels", "pose_widths", "group", "fold_mirror", "camera_harmonics")
EARLIER = {"camera_harmonics": 0}  # of files that do not have it


class PoseReader(nn.Module):
    """What a discriminator has learned of poses.

    Args:
        discriminator: whose E_D it is.
        raw_size: pixels a side of its raw pictures and masks.
        rest_pose: of the body that poses turn: ``mean`` or ``t_pose``.
        regressor: what has looked beside it; poses are then the means of both.
    """

    def __init__(
        self, discriminator: PoseAwareDiscriminator, raw_size: int, rest_pose: str = "mean",
        regressor: PoseRegressor | None = None,
    ):  # fmt: skip
        super().__init__()
        self.discriminator, self.raw_size, self.rest_pose = discriminator, raw_size, rest_pose
        self.regressor = regressor

    def forward(self, image: Tensor, mask: Tensor, camera: Tensor) -> Tensor:
        """Photographs [B, 3, H, H] in -1..1, masks [B, 1, H, H] in 0..1, labels [B, 25] -> poses [B, 6].

        H is the discriminator's size, or larger.
        """
        image = resized(image, self.discriminator.image_size)
        seen = Observed(image, resized(image, self.raw_size), resized(mask, self.raw_size))
        pose = self.discriminator.predict_pose(seen, camera)
        return pose if self.regressor is None else (pose + self.regressor(seen.image, seen.mask, camera)) / 2


def pack_pose_reader(reader: PoseReader, settings: dict[str, Any], rest_pose: str) -> dict[str, Any]:
    """Plain data for :func:`torch_utils.checkpoint.save_checkpoint`; ``settings`` has those of the discriminator."""
    return {
        "convention": CONVENTION,
        "settings": {name: (EARLIER | settings)[name] for name in SETTINGS},
        "raw_size": reader.raw_size,
        "rest_pose": rest_pose,
        "state": plain_state(reader.discriminator),
        **pack_regressor(reader.regressor),
    }


def pack_regressor(regressor: PoseRegressor | None) -> dict[str, Any]:
    """What a reader's file has of it; nothing where there is none."""
    if regressor is None:
        return {}
    return {"regressor": {"channels": regressor.channels, "state": plain_state(regressor)}}


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Weights by name, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def unpack_pose_reader(data: dict[str, Any], where: str) -> PoseReader:
    """The inverse of :func:`pack_pose_reader`, in eval mode. Raises UserError: ``where`` holds something else."""
    if data.get("convention") != CONVENTION or not isinstance(data.get("settings"), dict):
        found = data.get("convention")
        raise UserError(f"{where}: expected what reads poses (RUN/latest_pose_reader), found {found!r}")
    try:
        settings = {name: (EARLIER | data["settings"])[name] for name in SETTINGS}
        settings["pose_widths"] = tuple(settings["pose_widths"])
        with torch.random.fork_rng(devices=[]):
            discriminator = PoseAwareDiscriminator(settings.pop("image_size"), **settings)
            regressor = PoseRegressor(int(data["regressor"]["channels"])) if "regressor" in data else None
        reader = PoseReader(discriminator, int(data["raw_size"]), str(data["rest_pose"]), regressor)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: settings: cannot be used ({error})") from error
    load_weights(discriminator, in_single_precision(data.get("state", {})), where)
    if regressor is not None:
        load_weights(regressor, in_single_precision(data["regressor"].get("state", {})), f"{where}: regressor")
    return reader.eval().requires_grad_(False)
