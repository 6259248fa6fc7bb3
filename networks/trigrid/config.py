"""Sizes of the tri-grid generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch_utils.bounds import Range, check_ranges

Size = Annotated[int, Range(1, 4096)]
Length = Annotated[float, Range(1e-6, 1e6)]


@dataclass(frozen=True, kw_only=True)
class TriGridConfig:
    """Sizes; lengths in metres. The defaults are those of the released 512^2 model."""

    representation: Literal["trigrid"] = "trigrid"
    image_size: Size = 512  # pixels a side of the picture
    raw_size: Size = 64  # pixels a side of the rays
    latent_dim: Size = 512  # of z
    style_dim: Size = 512  # of w
    plane_size: Size = 256  # texels a side of the planes
    plane_features: Size = 32  # of a point
    plane_depth: Size = 3  # planes in a stack
    channel_base: Annotated[int, Range(16, 2**20)] = 32768  # of the backbone; the background has half
    max_channels: Size = 512
    colour_features: Size = 32  # of a pixel, for the super-resolution
    superresolution_input: Size = 128  # pixels a side that it enlarges
    superresolution_channels: tuple[Size, Size] = (256, 128)
    background_size: Size = 128  # pixels a side of the background
    samples: Annotated[int, Range(4, 4096)] = 48  # a ray, evenly spread
    importance_samples: Annotated[int, Range(1, 4096)] = 48  # and where they matter
    box: Length = 1.0  # side of the space that the planes fill
    near: Length = 2.25  # depths along a ray
    far: Length = 3.3
    crop: Annotated[float, Range(0.0, 1e6)] = 0.1  # of the box at its sides, to x and z, stays empty
    thickness: Length = 0.25  # space about the body that moves with it
    # How space follows the body: by frames of its triangles, by inverse skinning smoothed by D^p or as it is, or not.
    pose: Literal["frames", "smoothed", "nearest", "none"] = "frames"
    rest_pose: Literal["t_pose", "mean"] = "t_pose"  # of the body in the planes' space: SMPL's own, or hanging arms
    shoulders: bool = False  # collars and shoulders of the labels move it, too
    expression_dim: Annotated[int, Range(0, 256)] = 0  # width of D^e, which follows the pose; 0: no expressions
    # Where cameras (pitch, yaw) stand: on 360PHQ's orbit about the neck, or where this house's portraits are taken.
    orbit: Literal["phq", "portrait"] = "phq"

    def __post_init__(self):
        check_ranges(self)
        if self.near >= self.far:
            raise ValueError(f"near: expected less than far ({self.far}), found {self.near}")
        if self.rest_pose != "mean" and (self.pose in ("smoothed", "nearest") or self.shoulders or self.expression_dim):
            raise ValueError("rest_pose: expected mean for skinning, shoulders and expressions, found t_pose")
        if self.pose == "smoothed" and (min(self.raw_size, self.samples) < 10 or self.raw_size % 2 or self.samples % 2):
            found = f"raw_size {self.raw_size}, samples {self.samples}"
            raise ValueError(f"pose: smoothed: expected even raw_size and samples, at least 10, found {found}")
        if self.image_size // self.superresolution_input not in (2, 4):
            raise ValueError(
                f"superresolution_input: expected half or a quarter of image_size ({self.image_size}), "
                f"found {self.superresolution_input}"
            )
        if self.image_size == 2 * self.superresolution_input < 2 * self.raw_size:  # which shrinks nothing there
            most = f"superresolution_input ({self.superresolution_input})"
            raise ValueError(f"raw_size: expected at most {most}, found {self.raw_size}")
