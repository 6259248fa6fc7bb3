"""Layers of textured triangles, as they lie on the screen, to pixels: what a portable avatar's frames are drawn by."""

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_utils.custom_ops import aligned, select
from torch_utils.ops.rasterize_layers_ref import Picture, rasterize_layers_ref

# Transmittance below which nothing is seen: a quarter of a step of an 8-bit image.
LEAST_TRANSMITTANCE = 2**-10
_LARGEST = 2**31 - 1  # of the compiled loops' whole numbers


def rasterize_layers(
    positions: Tensor,
    uv: Tensor,
    triangles: Tensor,
    layers: Tensor,
    atlas: Tensor,
    size: tuple[int, int],
    *,
    least_transmittance: float = LEAST_TRANSMITTANCE,
    impl: str = "auto",
) -> Picture:
    """Draws layers over one another, the first one at the back, over white.

    Of every layer a pixel shows the nearest triangle that it sees from its front, where the corners are
    counter-clockwise: its texture, bilinearly, where perspective puts it. Layers of opacity a are composited front to
    back, T' = T (1 - a), until T < ``least_transmittance``. Pixels' centres lie at whole numbers, rows go down.

    Args:
        positions: [V, 3] float32: x and y of a vertex in pixels, its distance along the optical axis, below 0 behind
            the camera. Of triangles that reach there the part in front is drawn; those with a corner that is not
            finite, or at distance 0, where nothing has a pixel, are left out.
        uv: [V, 2] float32, 0..1 between the atlas' outer edges, v down its rows; beyond them the border is repeated.
        triangles: [F, 3] int32, rows of positions and uv.
        layers: [L + 1] int32, L >= 1, from 0 to F, not falling: layer l is triangles[layers[l] : layers[l + 1]].
        atlas: [h, w, 4] uint8 RGBA, straight alpha, one texel at least.
        size: (H, W) of the picture, pixels.
        least_transmittance: above 0; layers behind less change a pixel by less.
        impl: ``ref`` (plain torch, slow), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        rgb [3, H, W] in 0..1, alpha [H, W], and depth [H, W], the mean distance along the optical axis of what is seen,
        0 where alpha is. No gradients.

    Raises:
        ValueError: shapes, devices, ``size``, ``least_transmittance`` or ``impl`` do not fit. The values in triangles
            and layers are the caller's to check.
        TypeError: another dtype.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    scene = {"positions": positions, "uv": uv, "triangles": triangles, "layers": layers, "atlas": atlas}
    _check(scene, size, least_transmittance)
    ops = select(impl, positions.device)
    if ops is None:
        return rasterize_layers_ref(positions, uv, triangles, layers, atlas, size, least_transmittance)
    meshes, textures = (triangles.contiguous(), layers.contiguous()), aligned(atlas)
    sizes = (len(triangles), len(layers) - 1, *atlas.shape[:2], *size, least_transmittance)
    arguments = (aligned(positions), aligned(uv), *meshes, textures, *sizes)
    picture = Picture(positions.new_empty(3, *size), positions.new_empty(size), positions.new_empty(size))
    if not ops.is_cuda:
        ops("rasterize_layers_float", *arguments, *picture, threads=0)
        return picture
    nearest = torch.zeros(len(layers) - 1, *size, dtype=torch.int64, device=positions.device)
    ops("cover_layers_float", *arguments, nearest, threads=len(triangles))
    ops("shade_layers_float", *arguments, nearest, *picture, threads=size[0] * size[1])
    return picture


def _check(scene: dict[str, Tensor], size: tuple[int, int], least: float) -> None:
    vertices = len(scene["positions"]) if scene["positions"].ndim else 0
    shapes: dict[str, tuple[torch.dtype, Sequence[int | str]]] = {
        "positions": (torch.float32, ("V", 3)),
        "uv": (torch.float32, (vertices, 2)),
        "triangles": (torch.int32, ("F", 3)),
        "layers": (torch.int32, ("L + 1",)),
        "atlas": (torch.uint8, ("h", "w", 4)),
    }
    for name, (dtype, shape) in shapes.items():
        tensor = scene[name]
        sizes = zip(tensor.shape, shape, strict=False)
        if tensor.ndim != len(shape) or any(isinstance(n, int) and n != found for found, n in sizes):
            expected = ", ".join(map(str, shape))
            raise ValueError(f"{name}: expected shape [{expected}], found {list(tensor.shape)}")
        if tensor.dtype != dtype:
            raise TypeError(f"{name}: expected {dtype}, found {tensor.dtype}")
        if tensor.device != scene["positions"].device:
            found = f"{tensor.device}, {scene['positions'].device}"
            raise ValueError(f"{name} and positions: expected one device, found {found}")
    if len(scene["layers"]) < 2:
        raise ValueError("layers: expected at least one layer, two numbers, found fewer")
    if not 0 < scene["atlas"].shape[0] * scene["atlas"].shape[1] <= _LARGEST:
        raise ValueError(f"atlas: expected 1 to {_LARGEST} texels, found {list(scene['atlas'].shape[:2])}")
    if len(size) != 2 or not all(isinstance(n, int) and 0 < n < 1 << 24 for n in size):
        raise ValueError(f"size: expected two positive whole numbers, found {size}")
    if not 0 < least <= 1:
        raise ValueError(f"least_transmittance: expected more than 0, at most 1, found {least}")
