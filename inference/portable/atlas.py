"""Where a person's flattened maps can be seen, and one picture for all of them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.fast.grids import HALF_REACH
from networks.manifold.manifolds import FLAT_HALF_EXTENT

# Transmittance of what lies in front below which a layer is hidden: a quarter of a step of an 8-bit image.
HIDDEN = 2**-10
# How far a layer may shift against those in front of it as the view changes, canonical units.
PARALLAX = 0.05
_BLOCK = 4  # cells a side, of which all are kept if one is: ragged edges take more triangles than they save
_MARGIN = 1  # texels around what a layer shows


def visible_cells(maps: Tensor, cells: int, least_alpha: float) -> Tensor:
    """Cells in which a layer may be seen: opaque enough somewhere, and not behind opaque layers.

    Args:
        maps: [K, 4, h, w] RGBA in 0..1, the first one in front; row 0 is the lowest. Beyond them borders are repeated.
        cells: a side, over HALF_REACH; a multiple of 4.
        least_alpha: opacity below which a texel shows nothing.

    Returns:
        [K, cells, cells] bool.
    """
    alpha = maps[:, 3]
    before = torch.cat([torch.ones_like(alpha[:1]), torch.cumprod(1 - alpha[:-1], 0)])
    # On a coarser picture: what is hidden is hidden from everywhere near.
    radius = max(1, round(PARALLAX / HALF_REACH * cells / 2))
    seen = F.max_pool2d(_over_reach(before, cells), 2 * radius + 1, stride=1, padding=radius) >= HIDDEN
    shown = _over_reach(F.max_pool2d(alpha, 3, stride=1, padding=1), cells) >= least_alpha
    blocks = F.max_pool2d((seen & shown).float(), _BLOCK) > 0
    return blocks.repeat_interleave(_BLOCK, 1).repeat_interleave(_BLOCK, 2)


def _over_reach(values: Tensor, cells: int) -> Tensor:
    """The greatest of maps' values [K, h, w] in cells over HALF_REACH [K, cells, cells]."""
    height, width = (round((HALF_REACH / FLAT_HALF_EXTENT - 1) / 2 * n) for n in values.shape[1:])
    padded = F.pad(values[None], (width, width, height, height), mode="replicate")
    return F.adaptive_max_pool2d(padded, (cells, cells))[0]


class Boxes(NamedTuple):
    """Parts of maps, one a layer, and where they lie in the atlas; in texels, rows from the maps' lowest."""

    low: Tensor  # [K, 2] int64 x and y of the first texel
    size: Tensor  # [K, 2] with the margin
    place: Tensor  # [K, 2] x and y of the box' first texel in the atlas, rows from the top
    atlas: tuple[int, int]  # width and height

    def uv(self, layer: int, texels: Tensor) -> Tensor:
        """Positions in a layer's map, in texels from its lower left corner [N, 2] -> in the atlas, 0..1."""
        within = texels - self.low[layer]
        x, y = self.place[layer, 0] + within[:, 0], self.place[layer, 1] + self.size[layer, 1] - within[:, 1]
        return torch.stack([x / self.atlas[0], y / self.atlas[1]], -1)


def pack(texels: list[Tensor], width: int, height: int) -> Boxes:
    """Boxes around what layers need of their maps of width x height: positions in texels [N, 2] of each, N > 0.

    The highest boxes first, in rows from the left, as many as fit beside one another.
    """
    bounds = torch.tensor([width, height])
    low = torch.stack([(part.amin(0) - 0.5).floor() for part in texels]).long().clamp(min=0).minimum(bounds - 1)
    high = torch.stack([(part.amax(0) + 0.5).ceil() for part in texels]).long().minimum(bounds)
    low, size = low - _MARGIN, high - low + 2 * _MARGIN
    areas = size.prod(1)
    across = max(int(size[:, 0].max()), round(float(areas.sum()) ** 0.5))
    place, x, y, row = torch.zeros_like(low), 0, 0, 0
    for layer in size[:, 1].argsort(descending=True, stable=True).tolist():
        wide, high_ = size[layer].tolist()
        if x + wide > across:
            x, y, row = 0, y + row, 0
        place[layer] = torch.tensor([x, y])
        x, row = x + wide, max(row, high_)
    end = (place + size).amax(0)
    return Boxes(low, size, place, (int(end[0]), int(end[1])))


def draw_atlas(maps: Tensor, boxes: Boxes) -> Tensor:
    """maps [K, 4, h, w] in 0..1 -> [H, W, 4] uint8; beyond a map its border is repeated.

    Colours that nothing opaque is beside are never blended with any: they are 0, which files store in little.
    """
    atlas = torch.zeros(boxes.atlas[1], boxes.atlas[0], 4, dtype=torch.uint8)
    for image, low, size, place in zip(maps, *(part.tolist() for part in boxes[:3]), strict=True):
        columns, rows = (
            torch.arange(start, start + n).clamp(0, most - 1)
            for start, n, most in zip(low, size, (image.shape[2], image.shape[1]), strict=True)
        )
        part = image[:, rows.flip(0)][:, :, columns].permute(1, 2, 0)
        atlas[place[1] : place[1] + size[1], place[0] : place[0] + size[0]] = (255 * part).round().to(torch.uint8)
    beside = F.max_pool2d(atlas[None, :, :, 3].float(), 3, stride=1, padding=1)[0] > 0
    return atlas * beside[..., None]
