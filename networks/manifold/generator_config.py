"""Sizes of the generator."""

import math
from dataclasses import dataclass, fields
from typing import Literal

UPSCALE = 4  # U's factor, and that of the crossings
MAX_SIZE = 4096  # of anything below; a number beyond it is a slip of the pen or a damaged file
MAX_MANIFOLDS, MAX_EXPRESSION_DIM = 64, 256  # what torch_utils/ops have room for


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Sizes of the generator; the defaults are the released model's."""

    image_size: int = 512
    lowres_size: int = 128  # pixels a side of the rays that search for crossings
    map_scale: int = 1  # phi's flattened maps have map_scale * lowres_size pixels a side
    num_samples: int = 64  # samples a ray that are carried to neutral pose
    num_fine_samples: int = 256  # samples a ray in the crossing search, interpolated between those
    num_manifolds: int = 24
    first_level: float = 23.0  # outermost manifold
    last_level: float = 8.0
    manifold_centre: tuple[float, float, float] = (0.0, 0.0, -1.5)  # warped coordinates
    manifold_dim: int = 128  # M
    mapping_dim: int = 256  # mapping networks of phi and U
    radiance_dim: int = 256  # phi
    feature_dim: int = 32  # phi's features for U
    expression_dim: int = 128  # D^e
    sr_features: int = 64  # U
    sr_blocks: int = 4
    sr_growth: int = 32
    sr_up_channels: tuple[int, int] = (64, 32)
    # What takes part; less than everything for ablations, rivals and the first stage of training.
    pose: Literal["smoothed", "nearest", "none"] = "smoothed"  # inverse skinning: with D^p, as it is, or no pose at all
    expression: bool = True  # D^e
    superresolution: bool = True  # U; without it maps are upsampled bilinearly

    def __post_init__(self):
        for field in fields(self):
            if not isinstance(field.default, str | bool):
                _check_numbers(field.name, getattr(self, field.name), field.default)
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
            "num_manifolds": (self.num_manifolds <= MAX_MANIFOLDS, f"at most {MAX_MANIFOLDS}"),
            "expression_dim": (self.expression_dim <= MAX_EXPRESSION_DIM, f"at most {MAX_EXPRESSION_DIM}"),
            "first_level": (self.first_level > self.last_level, f"more than last_level ({self.last_level})"),
        }  # sizes below 10 and 6 are smaller than D^p's filter
        for name, (holds, expected) in checks.items():
            if not holds:
                raise ValueError(f"{name}: expected {expected}, found {getattr(self, name)}")


def _check_numbers(name: str, value: object, default: object) -> None:
    """ValueError unless ``value`` is like ``default``: as many numbers, sizes where those are ints, else finite."""
    values, defaults = (v if isinstance(v, tuple | list) else (v,) for v in (value, default))
    if len(values) != len(defaults):
        raise ValueError(f"{name}: expected {len(defaults)} numbers, found {len(values)}")
    for number in values:
        if isinstance(defaults[0], int):
            if not (isinstance(number, int) and 1 <= number <= MAX_SIZE):
                raise ValueError(f"{name}: expected a whole number from 1 to {MAX_SIZE}, found {number}")
        elif not math.isfinite(number):
            raise ValueError(f"{name}: expected a finite number, found {number}")
