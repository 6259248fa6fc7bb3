"""From layers along a ray to pixels: alpha compositing over white, and images of square views."""

from typing import NamedTuple

from torch import Tensor

from torch_utils.ops.manifold_composite_ref import Composite as Composite
from torch_utils.ops.manifold_composite_ref import composite as composite


class Frame(NamedTuple):
    """A picture of a person, whatever drew it."""

    image: Tensor  # [B, 3, H, W] in -1..1; manifolds are on white
    image_lr: Tensor  # [B, 3, h, w] before super-resolution
    depth: Tensor  # [B, H, W] along the ray, canonical units; 0 where alpha is 0
    alpha: Tensor  # [B, H, W] in 0..1


def square_images(pixels: Composite) -> tuple[Tensor, Tensor, Tensor]:
    """The rays of square images [B, R, ...] -> image [B, 3, H, W] in -1..1, alpha [B, H, W], depth [B, H, W]."""
    size = round(pixels.alpha.shape[1] ** 0.5)
    image = (2 * pixels.rgb - 1).transpose(1, 2).unflatten(2, (size, size))
    return image, pixels.alpha.unflatten(1, (size, size)), pixels.depth.unflatten(1, (size, size))
