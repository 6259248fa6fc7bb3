"""Lookup in the flattened manifolds, and their compositing over white."""

from torch import Tensor

from networks.manifold.manifolds import flat_coordinates
from torch_utils.ops.manifold_composite import composite_manifolds
from torch_utils.ops.manifold_composite_ref import Composite, look_up


def lookup_manifolds(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear fetch from the flattened maps.

    Args:
        maps: [B, K, C, h, w], row 0 = lowest y.
        points: [B, R, K, 3] canonical; the k-th point reads the k-th map.

    Returns:
        [B, R, K, C].
    """
    return look_up(maps, flat_coordinates(points))


def texels_together(maps: Tensor) -> Tensor:
    """The same [B, K, C, h, w] with a texel's numbers side by side in memory, as :func:`composite_maps` reads them."""
    return maps.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)


def composite_maps(
    maps: Tensor, points: Tensor, depth: Tensor, valid: Tensor, order: Tensor, *, upscale: int = 1
) -> Composite:
    """Lookup and compositing of crossings in one pass; see ``composite_manifolds``.

    Args:
        maps: [B, K, 4, h, w] RGBA in 0..1, row 0 = lowest y. A copy is made unless they are :func:`texels_together`.
        points: [B, R, K, 3] canonical.
        depth: [B, R, K] along the ray.
        valid: [B, R, K] bool, or 0 and 1.
        order: [B, R, K] what to sort by, nearest first.
        upscale: pixels a ray, each way, if the rays are those of square images; interpolated between rays.

    Returns:
        [B, R * upscale^2, ...].
    """
    rays = depth.shape[1]
    height = round(rays**0.5) if upscale > 1 else 1  # any rays are an image of a single row
    parts = [flat_coordinates(points), depth, valid] + ([] if order is depth else [order])
    images = [part.unflatten(1, (height, rays // height)) for part in parts]
    pixels = composite_manifolds(
        maps.permute(0, 1, 3, 4, 2), *images[:3], order=images[3] if len(images) > 3 else None, upscale=upscale
    )
    return Composite(*(part.flatten(1, 2) for part in pixels))
