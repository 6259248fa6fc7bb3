"""The configuration of a training run of the tri-grid generator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from networks.discriminators import ChannelBase, MaxChannels
from networks.trigrid.config import Size, TriGridConfig
from torch_utils.bounds import MAX_BATCH, MAX_SEED, Range, check_ranges
from training.config import Decay, Factor, Rate, RunConfig, Thousands, Weight
from training.losses.pose_self_learning import (
    BACKGROUND_SWAP,
    BLUR_SIGMA,
    ROUGH_POSE_WEIGHT,
    SWAP_PROBABILITY,
    Ramp,
)

GROUP = 4  # samples whose deviation D sees


@dataclass(frozen=True, kw_only=True)
class PoseAwareConfig:
    """D of portraits, with the head that reads poses (E_D); the defaults are those of the released 512^2 model."""

    channel_base: ChannelBase = 32768  # channels of features of R pixels a side: min(channel_base / R, max_channels)
    max_channels: MaxChannels = 512
    pose_widths: tuple[Size, ...] = (2048, 512, 128, 32)  # inner layers of E_D
    camera_harmonics: Annotated[int, Range(0, 16)] = 0  # of E_D's last layer; 0: the same layer from all sides
    fold_mirror: bool = False  # views from the left are mirrored once for score and pose: half of the passes
    history: Annotated[int, Range(0, MAX_BATCH)] = 0  # fakes of earlier steps that E_D looks at again, a step
    r1_gamma: Weight = 1.0  # 0.5 * gamma * |grad|^2 on real pictures, and as much on their masks
    r1_interval: Annotated[int, Range(1, 1000)] = 16  # R1 every so many steps, with as many times its weight

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class FaceConfig:
    """D_face, which the original does without: AniPortraitGAN's, on faces of a camera that rides on the head."""

    weight: Weight = 0.0  # of its score in G's loss; 0 leaves it out
    r1_gamma: Weight = 1.0  # 0.5 * gamma * |grad|^2 on real faces
    camera: Weight = 15.0  # of its regression of (pitch, yaw)
    channel_base: ChannelBase = 8192  # channels of a block that sees W pixels: min(channel_base / W, max_channels)
    max_channels: MaxChannels = 400

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Numbers that change while images are shown. The clock counts those of earlier stages (``first_kimg``), too."""

    rough_pose: Ramp = ROUGH_POSE_WEIGHT  # weight of |E_G - p0|^2
    swap: Ramp = SWAP_PROBABILITY  # how often w is conditioned on a stranger's camera and pose
    blur: Ramp = BLUR_SIGMA  # of what D sees, pixels
    density_noise: Ramp = Ramp(first=1.0, last=0.0, length=200)  # standard deviation on raw densities
    pose_noise: Ramp = Ramp(first=0.0, last=0.0)  # radians, on yaws of E_G's poses; less on nods and tilts
    rate: Ramp = Ramp(first=1.0, last=1.0)  # of g_lr and d_lr
    raw_size: Ramp | None = None  # pixels a side of the rays; null: the generator's raw_size
    background_swap: Annotated[float, Range(0.0, 1.0)] = BACKGROUND_SWAP  # how often a stranger's background is taken


@dataclass(frozen=True, kw_only=True)
class PoseLossConfig:
    """Weights and labels of pose self-learning."""

    pose: Weight = 1.0  # |E_D - p|^2 on fakes, in D's loss
    # p0: the labels; labels turned by a random rotation, fixed a row; or nobody's, so that E_G is led to rest alone.
    rough_labels: Literal["labels", "noisy", "withheld"] = "labels"
    rough_noise: Annotated[float, Range(0.0, 180.0)] = 8.0  # degrees a component, of noisy ones

    def __post_init__(self):
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class TriGridOptimConfig:
    """Adam for both sides, and the running means of G's and D's weights."""

    batch_size: Annotated[int, Range(1, MAX_BATCH)] = 32  # images a step, over all processes
    g_lr: Rate = 2.5e-3
    d_lr: Rate = 2e-3
    betas: tuple[Decay, Decay] = (
        0.0,
        0.99,
    )  # of both; lazy R1 takes D's rate and betas to the power interval / (it + 1)
    clip_norm: Factor = 1e6  # of the gradient of G's sub-networks, or of D
    ema_kimg: Thousands = 10.0  # half-life of the running means
    ema_rampup: Weight = 0.05  # at the beginning it is this share of the images so far; 0: no such limit

    def __post_init__(self):
        check_ranges(self)

    @property
    def ema(self) -> tuple[float, float]:
        """Decay a step and ramp-up of :class:`training.run.ema.WeightAverage`, which counts e-foldings."""
        return 0.5 ** (self.batch_size / (1000 * self.ema_kimg)), self.ema_rampup / math.log(2)


@dataclass(frozen=True, kw_only=True)
class TriGridTrainConfig:
    """A whole run."""

    stage: Literal[1, 2, 3]  # 1: E_G learns; 2 and 3: it is frozen, and goes on posing the fakes
    generator: TriGridConfig
    discriminator: PoseAwareConfig = field(default_factory=PoseAwareConfig)
    face: FaceConfig = field(default_factory=FaceConfig)
    losses: PoseLossConfig = field(default_factory=PoseLossConfig)
    schedules: ScheduleConfig = field(default_factory=ScheduleConfig)
    optim: TriGridOptimConfig = field(default_factory=TriGridOptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    mirror: bool = True  # half of the training images are mirrored
    # Of the backbone, in training: drawn anew a step; or its own maps, which models of stage 0 have learned.
    noise: Literal["random", "const"] = "random"
    init_from: str | None = None  # state.safetensors of the stage before: G, D and their running means
    expression_warmup: Annotated[int, Range(0, 10**6)] = 0  # steps of D^e alone before a run that begins from nothing
    first_kimg: Annotated[float, Range(0.0, 1e6)] = 0.0  # thousands of images that the stages before have shown
    body_model: str | None = None  # SMPL file that the labels belong to; null: the open body
    face_model: str | None = None  # BFM_model_front.mat that the labels belong to; null: the open face
    face_recon: str | None = None  # weights of the net behind run.metric_detector: attributes; null: the shipped one

    def __post_init__(self):
        check_ranges(self)
        checks = {
            "init_from": (self.stage == 1 or self.init_from is not None, "the state of the stage before"),
            "face.weight": (
                not self.face.weight or self.generator.orbit == "portrait",
                "0 unless generator.orbit is portrait, whose sets have faces",
            ),
            "run.metric_images": (self.run.metric_images != 1, "0, or 2 and more: one picture has no variance"),
        }
        expressive, begins = bool(self.generator.expression_dim), self.init_from is None
        checks["expression_warmup"] = (
            bool(self.expression_warmup) == (expressive and begins),
            "steps of D^e where generator.expression_dim is above 0 and nothing is taken over, else 0",
        )
        sizes, ramp = self.generator, self.schedules.raw_size
        if ramp is not None and sizes.image_size == 2 * sizes.superresolution_input:
            fits = max(ramp.first, ramp.last) <= sizes.superresolution_input
            checks["schedules.raw_size"] = fits, f"at most superresolution_input ({sizes.superresolution_input})"
        for name, (holds, expected) in checks.items():
            if not holds:
                raise ValueError(f"{name}: expected {expected}")

    @property
    def face_size(self) -> int:
        """Pixels a side of the faces that D_face sees: half of the portrait's."""
        return self.generator.image_size // 2

    def raw_size_at(self, kimg: float) -> int:
        """Pixels a side of the rays; even, as D^p needs them."""
        ramp = self.schedules.raw_size
        return self.generator.raw_size if ramp is None else 2 * round(ramp.at(kimg) / 2)
