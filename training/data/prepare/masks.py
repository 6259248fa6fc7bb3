"""What people call a mask: which of its pixels are the person, or one line that says why it cannot be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from torch_utils.misc import UserError
from torch_utils.pictures import alpha, as_8_bit, open_picture

# The parsing that comes with SHHQ-1.0 (StyleGAN-Human, docs/Dataset.md), on black: headwear, hair, glove, eyeglasses,
# tops, dress, coat, socks, pants, skin, scarf, skirt, face, shoes, bag, accessories. All of them are the person.
SHHQ_PARSING = (
    (127, 255, 212), (255, 0, 0), (213, 140, 88), (0, 100, 0), (255, 250, 250), (255, 250, 205), (220, 220, 220),
    (160, 140, 88), (211, 211, 211), (144, 238, 144), (150, 26, 181), (250, 235, 215), (16, 78, 139), (245, 222, 179),
    (255, 140, 0), (50, 205, 50),
)  # fmt: skip
VOC_CLASSES = 60  # more than LIP, ATR, CIHP and PASCAL-Person-Part have
GREY_TOLERANCE = 12  # levels between the channels of a grey picture that was a JPEG
SOFT = (55, 200)  # a matte is below the one or above the other, but at outlines
MAX_SOFT = 0.35  # share of what is not background that may lie between


def voc_palette(classes: int = VOC_CLASSES) -> list[tuple[int, int, int]]:
    """PASCAL VOC's colours of classes 1, 2 ...: bits 0, 1, 2 of the number are the highest bits of R, G, B, the next
    three the next ones. Parsers trained on LIP, ATR or CIHP (SCHP, for one) write these; 0, black, is no person."""

    def channel(n: int, c: int) -> int:
        return sum((n >> (3 * b + c) & 1) << (7 - b) for b in range(8))

    return [(channel(n, 0), channel(n, 1), channel(n, 2)) for n in range(1, classes)]


def read_mask(path: Path, size: tuple[int, int], *, invert: bool = False) -> Image.Image:
    """A person's mask as 8-bit grey, 255 the person.

    Taken are, in this order: an alpha channel that is not the same everywhere; grey, whether 0 and 1, 0 and 255, or a
    soft matte (of 8 or 16 bits, also as three equal channels); the parsing colours of SHHQ and of PASCAL VOC, on black.

    Args:
        path: of the mask, upright or with its own EXIF orientation.
        size: of the upright photo.
        invert: the person is black, or transparent.

    Raises:
        UserError: it cannot be read, has another size, or is none of these.
    """
    mask = open_picture(path, _mask_of)
    if mask.size != size:
        found = f"expected {size[0]}x{size[1]} pixels as the photo, found {mask.size[0]}x{mask.size[1]}"
        turned = "; does one of them lack the other's EXIF orientation?" if mask.size == size[::-1] else ""
        raise UserError(f"{path}: {found}{turned}")
    return ImageChops.invert(mask) if invert else mask


def _mask_of(picture: Image.Image) -> Image.Image:
    """0..255 from a picture of any mode."""
    opacity = alpha(picture)
    if opacity is not None:
        opacities = np.asarray(opacity)
        if opacities.min() < opacities.max():
            return _from_numbers(opacities)
        if opacities.max() == 0:
            raise UserError("expected a mask, found a picture that is transparent everywhere")
    if picture.mode == "F":  # mattes of networks
        values = np.asarray(picture)
        return _from_numbers(values * 255.0 if values.max() <= 1 else values)
    picture = as_8_bit(picture)
    if picture.mode in ("1", "L", "LA"):
        return _from_numbers(np.asarray(picture.convert("L")))
    colours = np.asarray(picture.convert("RGB"))
    red, green, blue = np.moveaxis(colours, 2, 0)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    if spread.max() <= GREY_TOLERANCE:
        return _from_numbers(green)
    return Image.fromarray(255 * _from_parsing(colours).astype(np.uint8))


def _from_numbers(values: np.ndarray) -> Image.Image:
    """Grey values [H, W] of a mask, checked."""
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 255:  # NaN, too
        raise UserError(f"expected a mask of 0..1 or 0..255, found {low:g}..{high:g}")
    if high <= 1 and values.dtype.kind != "f":
        return Image.fromarray(255 * values.astype(np.uint8))
    values = np.rint(values).astype(np.uint8)
    if low == high:
        if low in (0, 255):  # who stands where decides about these
            return Image.fromarray(values)
        raise UserError(f"expected a mask of 0 and 1 or 0..255, found {low:g} everywhere")
    counts = np.bincount(values.ravel(), minlength=256)
    between, person = counts[SOFT[0] : SOFT[1] + 1].sum(), counts[SOFT[1] + 1 :].sum()
    if high <= SOFT[1] or between > MAX_SOFT * (between + person):
        present = np.flatnonzero(counts)
        several = f"{len(present)} values {low:g}..{high:g}"
        kinds = several if len(present) > 8 else f"values {', '.join(map(str, present))}"
        guess = "numbers of classes" if high < 64 else "a photo" if len(present) > 64 else "classes"
        raise UserError(f"expected a mask of 0 and 1, 0 and 255 or a soft matte, found {kinds}: {guess}?")
    return Image.fromarray(values)


def _from_parsing(colours: np.ndarray) -> np.ndarray:
    """Where the person is, [H, W] bool, in a picture [H, W, 3] of parsing colours."""
    packed = np.zeros(colours.shape[:2], np.int32)
    for channel in range(3):
        packed = packed << 8 | colours[:, :, channel]
    seen = np.zeros(1 << 24, bool)
    seen[packed.ravel()] = True
    found = np.flatnonzero(seen)
    for palette in (SHHQ_PARSING, voc_palette()):
        if np.isin(found, [0, *(np.array(palette) @ (1 << 16, 1 << 8, 1))]).all():
            return packed != 0
    examples = ", ".join(str((c >> 16, c >> 8 & 255, c & 255)) for c in found[found != 0][:3].tolist())
    raise UserError(
        f"expected a mask in grey or alpha, or parsing in the colours of SHHQ or PASCAL VOC, found {len(found)} "
        f"colours ({examples}{' ...' if len(found) > 4 else ''})"
    )
