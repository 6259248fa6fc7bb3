"""Pictures in a table with headings, as figures of papers have them."""

from collections.abc import Sequence
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from torch_utils.pixels import image_to_uint8

INK, RULE, PAPER = (30, 30, 30), (150, 150, 150), (255, 255, 255)


def labelled_grid(
    images: Sequence[Sequence[Tensor]], columns: Sequence[tuple[str, str]], rows: Sequence[str], size: int | None = None
) -> Image.Image:
    """A table of square pictures under column headings.

    Args:
        images: row by row, [3, H, H] each in -1..1.
        columns: (group, heading) of each column; a group's name stands over its neighbouring columns, on a rule.
        rows: labels to the left.
        size: pixels a side of a picture in the table (default: its own).

    Raises:
        ValueError: rows or columns without a label, or none.
    """
    if not images or len(images) != len(rows) or any(len(row) != len(columns) for row in images):
        found = f"{len(images)} rows of {[len(row) for row in images]}"
        raise ValueError(f"images: expected {len(rows)} rows of {len(columns)}, found {found}")
    size = size or images[0][0].shape[-1]
    text = max(11, size // 11)
    font = ImageFont.load_default(text)
    gap, between, margin = max(2, size // 64), max(4, size // 14), text
    lefts, x = [], 0
    for i, (group, _) in enumerate(columns):
        x += 0 if i == 0 else gap if group == columns[i - 1][0] else between
        lefts.append(x)
        x += size
    label = int(max((font.getlength(row) for row in rows), default=0))
    start_x = margin + (label + text // 2 if label else 0)
    head = (int(1.6 * text) if any(group for group, _ in columns) else 0) + int(1.5 * text)
    top = margin + head
    height = top + len(rows) * (size + gap) - gap + margin
    sheet = Image.new("RGB", (start_x + x + margin, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for group, members in groupby(range(len(columns)), key=lambda i: columns[i][0]):
        inside = list(members)
        if group:
            left, right = start_x + lefts[inside[0]], start_x + lefts[inside[-1]] + size
            pen.text(((left + right) / 2, margin), group, INK, font, anchor="ma")
            pen.line((left, margin + int(1.35 * text), right - 1, margin + int(1.35 * text)), RULE)
    for left, (_, heading) in zip(lefts, columns, strict=True):
        pen.text((start_x + left + size / 2, top - text // 3), heading, INK, font, anchor="md")
    for i, (name, pictures) in enumerate(zip(rows, images, strict=True)):
        y = top + i * (size + gap)
        pen.text((start_x - text // 2, y + size / 2), name, INK, font, anchor="rm")
        for left, picture in zip(lefts, pictures, strict=True):
            sheet.paste(to_image(picture, size), (start_x + left, y))
    return sheet


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other, at the left."""
    result = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), PAPER)
    top = 0
    for image in images:
        result.paste(image, (0, top))
        top += image.height
    return result


def to_image(picture: Tensor, size: int) -> Image.Image:
    """[3, H, H] in -1..1 as ``size`` pixels a side."""
    if picture.shape[-1] != size:
        picture = F.interpolate(picture[None].float(), (size, size), mode="bilinear", antialias=True)[0]
    return Image.fromarray(image_to_uint8(picture))
