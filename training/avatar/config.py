"""Configuration of an avatar's training, built from YAML and checked."""

from dataclasses import dataclass
from typing import Annotated, Literal

from networks.gaussian.avatar import AvatarConfig
from torch_utils.bounds import MAX_SEED, Range, check_ranges

Weight = Annotated[float, Range(0.0, 1e6)]
Rate = Annotated[float, Range(0.0, 10.0)]
Count = Annotated[int, Range(1, 10**9)]


@dataclass(frozen=True, kw_only=True)
class AvatarLossConfig:
    """Weights; 0 leaves one out."""

    l1: Weight = 1.0  # of the whole picture
    ssim: Weight = 0.2  # of 1 - SSIM; stands where the paper has LPIPS, whose weights are not ours to give
    perceptual: Weight = 0.0  # of the distance by EfficientNet-Lite0's features, an optional package
    mask: Weight = 0.1  # L1 of alpha; the paper's configurations have none
    # Behind the actor: another colour every step, by alpha, or white. A generator that was trained on white pictures
    # does not know a white wall from nothing: then white, without a loss of the mask.
    background: Literal["random", "white"] = "random"
    offset: Weight = 0.005  # mean length of what is added to canonical positions, in metres or canonical units

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class AvatarOptimConfig:
    """Adam, one picture a step; rates fall along a half cosine to a twentieth."""

    steps: Count = 800_000
    lr: Rate = 5e-4  # of the nets
    canonical_lr: Rate = 5e-3  # of the canonical Gaussians
    static_steps: Annotated[int, Range(0, 10**9)] = 0  # of them the first, in which the nets rest

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class AvatarRunConfig:
    """How a run goes about it; nothing here changes what is computed."""

    tick_steps: Count = 100  # a line of statistics
    snapshot_steps: Count = 1000  # a picture, and everything needed to go on
    snapshot_views: Annotated[int, Range(1, 16)] = 4  # held-out pictures in it
    held_out: Annotated[int, Range(1, 1000)] = 16  # pictures that PSNR and SSIM are measured on

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Where a generated person is what is learned from (``--from``)."""

    frames: Annotated[int, Range(2, 10**6)] = 400  # different ones that training sees, rendered when first needed
    window: Annotated[float, Range(0.01, 10.0)] = 0.22  # half of what the maps span, canonical units (1.18 m)
    fovea: Annotated[float, Range(0.0, 10.0)] = 0.0  # maps are finest so near the face's middle, alike; 0: even
    psi: Annotated[float, Range(0.0, 2.0)] = 0.7  # truncation
    jitter: Annotated[float, Range(0.0, 1.0)] = 0.1  # of the priors' poses, expressions and cameras
    closing: Annotated[float, Range(0.0, 1.0)] = 0.0  # share of pictures with closing lids, beside the priors' own
    expression_draws: Annotated[int, Range(2, 10**5)] = 96  # from which the expressions' displacements are fitted

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """What of a captured set is learned from (``--data``)."""

    body: str | None = None  # the user's SMPL-X file, SMPLX_NEUTRAL.npz
    frames: tuple[int, int, int] | None = None  # first, end (exclusive) and step; null: all that are registered
    cameras: tuple[str, ...] | None = None  # names, as the calibration has them; null: all that are not held out
    held_out_cameras: tuple[str, ...] = ()
    held_out_every: Annotated[int, Range(0, 10**6)] = 0  # every so manieth frame is held out; 0: none

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.frames is not None and not (0 <= self.frames[0] < self.frames[1] and self.frames[2] >= 1):
            raise ValueError(f"frames: expected a first one, an end behind it and a step, found {list(self.frames)}")


@dataclass(frozen=True, kw_only=True)
class AvatarTrainConfig:
    """A whole run."""

    avatar: AvatarConfig
    losses: AvatarLossConfig
    optim: AvatarOptimConfig
    run: AvatarRunConfig
    distillation: DistillationConfig
    capture: CaptureConfig
    seed: Annotated[int, Range(0, MAX_SEED)] = 0
    template: str | None = None  # a mesh in place of the body's surface (training/avatar/template.py)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.optim.static_steps > self.optim.steps:
            expected = f"at most optim.steps ({self.optim.steps})"
            raise ValueError(f"optim.static_steps: expected {expected}, found {self.optim.static_steps}")
