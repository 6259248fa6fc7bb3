"""The networks of a run of the tri-grid generator, built from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from networks.discriminators import Discriminator, DiscriminatorConfig
from networks.person.body_assets import BodyArrays, default_body, head_shoulder_vertices, load_smpl
from networks.person.face_model import FaceArrays, default_face, load_bfm
from networks.person.pose_predictors import PosePredictor
from networks.saved_model import unpack_model
from networks.stylegan_layers import EqualLinear
from networks.trigrid.config import TriGridConfig
from networks.trigrid.discriminator import PoseAwareDiscriminator
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.checkpoint import load_checkpoint, load_weights
from torch_utils.config import check_same, config_from_dict, config_to_dict
from torch_utils.misc import UserError
from training.trigrid.config import GROUP, TriGridTrainConfig

FIRST_TURNS = 0.1  # of E_G's and E_D's last layers, times their usual first weights
# What a later stage may change: nothing among the weights depends on it.
FREE = ("raw_size", "samples", "importance_samples")


class TriGridNetworks(NamedTuple):
    """G and D with their pose predictors."""

    generator: TriGridPortrait
    discriminators: nn.ModuleDict  # by name: portrait; and face, where it takes part

    @property
    def discriminator(self) -> PoseAwareDiscriminator:
        """D of portraits."""
        found = self.discriminators["portrait"]
        assert isinstance(found, PoseAwareDiscriminator)
        return found

    def to(self, device: torch.device) -> TriGridNetworks:
        """The same networks on ``device``."""
        for part in self:
            part.to(device)
        return self


def load_body(config: TriGridTrainConfig) -> BodyArrays:
    """The body that the run's labels belong to."""
    return default_body() if config.body_model is None else load_smpl(config.body_model)


def load_face(config: TriGridTrainConfig) -> FaceArrays:
    """The morphable face that the run's labels belong to."""
    return default_face() if config.face_model is None else load_bfm(config.face_model)


def build_networks(config: TriGridTrainConfig) -> TriGridNetworks:
    """The networks as a run begins with them, on the CPU; they follow from ``config.seed``."""
    torch.manual_seed(config.seed)
    body = load_body(config)
    generator = TriGridPortrait(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))
    discriminators = nn.ModuleDict({"portrait": build_discriminator(config)})
    if config.face.weight:
        size, face = config.face_size, config.face
        sizes = DiscriminatorConfig(
            width=size, height=size, channel_base=face.channel_base, max_channels=face.max_channels
        )
        discriminators["face"] = Discriminator(sizes)
    generator.space.requires_grad_(False)  # D^p stays the mean filter that it begins as
    if generator.expression_deformation is not None:  # and D^e what it has learned alone
        generator.expression_deformation.requires_grad_(False)
    generator.trigrid.pose_branch.requires_grad_(config.stage == 1)
    networks = TriGridNetworks(generator, discriminators)
    for branch in (generator.trigrid.pose_branch, networks.discriminator.pose_branch):
        begin_at_rest(branch)
    return networks


@torch.no_grad()
def begin_at_rest(branch: PosePredictor) -> None:
    """Heads begin near rest, not turned by a radian."""
    last = branch.net[-1]
    assert isinstance(last, EqualLinear)
    last.weight.mul_(FIRST_TURNS)


def build_discriminator(config: TriGridTrainConfig) -> PoseAwareDiscriminator:
    """D of portraits."""
    d = config.discriminator
    return PoseAwareDiscriminator(
        config.generator.image_size, channel_base=d.channel_base, max_channels=d.max_channels,
        pose_widths=d.pose_widths, group=GROUP, fold_mirror=d.fold_mirror,
        camera_harmonics=d.camera_harmonics,
    )  # fmt: skip


def read_stage(path: str, config: TriGridTrainConfig) -> dict[str, Any]:
    """The state of the stage before; of a model of stage 0 (training.pretrain), the generator alone.

    Raises:
        UserError: the file is no such state, or the generator there is another.
    """
    data = load_checkpoint(path)
    if isinstance(data.get("metadata"), dict) and "pretraining" in data["metadata"]:
        saved = unpack_model(data, path, (TriGridPortrait,)).generator
        data = {"config": {"generator": config_to_dict(saved.config)}, "generator": saved.state_dict()}
        return _of_same_size(data, path, config)
    for key in ("config", "generator", "discriminators", "ema", "d_ema"):
        if key not in data:
            raise UserError(f"{path}: expected the state of a tri-grid run (state.safetensors), found no '{key}'")
    return _of_same_size(data, path, config)


def _of_same_size(data: dict[str, Any], path: str, config: TriGridTrainConfig) -> dict[str, Any]:
    there = config_from_dict(TriGridConfig, data["config"].get("generator"), f"{path}: generator")
    check_same(settled(FREE), there, config.generator, path)
    return data


def settled(free: Sequence[str]) -> list[str]:
    """Keys of :class:`TriGridConfig` that a later stage may not change, if it may change ``free``."""
    return [name for name in TriGridConfig.__dataclass_fields__ if name not in free]


def take_over(networks: TriGridNetworks, data: dict[str, Any], path: str) -> None:
    """The weights of the stage before. Raises UserError where they do not fit."""
    load_weights(networks.generator, data["generator"], f"{path}: generator")
    if "discriminators" in data:
        load_weights(networks.discriminators, data["discriminators"], f"{path}: discriminators")
