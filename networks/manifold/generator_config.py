"""Sizes of the generator."""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch_utils.bounds import Range, check_ranges

UPSCALE = 4  # U's factor, and that of the crossings
MAX_MANIFOLDS, MAX_EXPRESSION_DIM = 64, 256  # what torch_utils/ops have room for
# A number beyond these is a slip of the pen or a damaged file.
Size = Annotated[int, Range(1, 4096)]
Level = Annotated[float, Range(-1e4, 1e4)]  # of M's scalar; also of warped coordinates


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Sizes of the generator; the defaults are the released model's."""

    representation: Literal["manifolds"] = "manifolds"
    image_size: Size = 512
    lowres_size: Size = 128  # pixels a side of the rays that search for crossings
    map_scale: Size = 1  # phi's flattened maps have map_scale * lowres_size pixels a side
    num_samples: Size = 64  # samples a ray that are carried to neutral pose
    num_fine_samples: Size = 256  # samples a ray in the crossing search, interpolated between those
    num_manifolds: Annotated[int, Range(1, MAX_MANIFOLDS)] = 24
    first_level: Level = 23.0  # outermost manifold
    last_level: Level = 8.0
    manifold_centre: tuple[Level, Level, Level] = (0.0, 0.0, -1.5)  # warped coordinates
    manifold_dim: Size = 128  # M
    mapping_dim: Size = 256  # mapping networks of phi and U
    radiance_dim: Size = 256  # phi
    feature_dim: Size = 32  # phi's features for U
    expression_dim: Annotated[int, Range(1, MAX_EXPRESSION_DIM)] = 128  # D^e
    expression_mapping_dim: Annotated[int, Range(0, 4096)] = 0  # its mapping network; 0: as wide as D^e
    sr_features: Size = 64  # U
    sr_blocks: Size = 4
    sr_growth: Size = 32
    sr_up_channels: tuple[Size, Size] = (64, 32)
    # What takes part; less than everything for ablations, rivals and the first stage of training.
    pose: Literal["smoothed", "nearest", "none"] = "smoothed"  # inverse skinning: with D^p, as it is, or no pose at all
    expression: bool = True  # D^e
    # Whose shape people have in canonical space: their own, as in the paper, or the mean person's, to which inverse
    # skinning (betas) and D^e (z_id) take them: phi then finds everybody's eyes in the same place.
    canonical_shape: Literal["own", "mean"] = "own"
    # What face D^e leads to: the neutral one, as in the paper, or one with open eyes and parted lips, so that what lids
    # and lips hide, teeth above all, has a place of its own on the manifolds.
    canonical_face: Literal["neutral", "open"] = "neutral"
    superresolution: bool = True  # U; without it phi's maps are looked up

    @property
    def opens(self) -> bool:
        """Whether D^e opens what lids and lips have closed."""
        return self.expression and self.canonical_face == "open"

    def __post_init__(self):
        check_ranges(self)
        checks = {
            "image_size": (
                self.image_size == UPSCALE * self.lowres_size,
                f"{UPSCALE} x lowres_size ({self.lowres_size})",
            ),
            "lowres_size": (self.lowres_size >= 10 and self.lowres_size % 2 == 0, "an even number, at least 10"),
            "num_samples": (self.num_samples >= 6 and self.num_samples % 2 == 0, "an even number, at least 6"),
            "num_fine_samples": (
                self.num_fine_samples >= self.num_samples,
                f"at least num_samples ({self.num_samples})",
            ),
            "first_level": (self.first_level > self.last_level, f"more than last_level ({self.last_level})"),
        }  # sizes below 10 and 6 are smaller than D^p's filter
        for name, (holds, expected) in checks.items():
            if not holds:
                raise ValueError(f"{name}: expected {expected}, found {getattr(self, name)}")
