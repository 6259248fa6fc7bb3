"""What people call masks: the right pixels, or one line."""

import numpy as np
import pytest
from PIL import Image

from torch_utils.misc import UserError
from training.data.mask_checks import mask_fault
from training.data.prepare.masks import SHHQ_PARSING, read_mask, voc_palette

SIZE = (40, 60)  # w, h
PERSON = np.zeros(SIZE[::-1], bool)
PERSON[10:, 8:30] = True


def paint(colours, background=(0, 0, 0)) -> np.ndarray:
    """The person in stripes of several colours."""
    picture = np.empty((*PERSON.shape, 3), np.uint8)
    picture[:] = background
    picture[PERSON] = np.array(colours)[np.arange(PERSON.sum()) % len(colours)]
    return picture


def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*PERSON.shape, 3), dtype=np.uint8)


def with_palette(index: np.ndarray, palette) -> Image.Image:
    picture = Image.fromarray(index.astype(np.uint8), "P")
    picture.putpalette(np.array(palette, np.uint8).ravel().tolist())
    return picture


def classes(count: int) -> np.ndarray:
    """[H, W] class numbers 1..count - 1 on the person, 0 beside it."""
    index = np.zeros(PERSON.shape, np.uint8)
    index[PERSON] = 1 + np.arange(PERSON.sum()) % (count - 1)
    return index


def soft() -> np.ndarray:
    """A matte with an outline of middling values."""
    matte = 255 * PERSON.astype(np.uint8)
    matte[10:, 8], matte[10:, 29], matte[11:, 9] = 90, 160, 200
    return matte


def transparent(palette_index: np.ndarray) -> tuple[Image.Image, dict]:
    return with_palette(palette_index, [(9, 9, 9), (200, 50, 60)]), {"transparency": 0}


grey = 255 * PERSON.astype(np.uint8)
RIGHT = {
    "grey": (grey, {}),
    "0 and 1": (PERSON.astype(np.uint8), {}),
    "1 bit": (Image.fromarray(PERSON), {}),
    "three channels": (np.repeat(grey[..., None], 3, 2), {}),
    "16 bits": (grey.astype(np.uint16) * 257, {}),
    "0 and 1 of 16 bits": (PERSON.astype(np.uint16), {}),
    "SHHQ's parsing": (paint(SHHQ_PARSING), {}),
    "VOC's parsing": (with_palette(classes(20), [(0, 0, 0), *voc_palette(20)]), {}),
    "VOC's parsing, RGB": (paint(voc_palette(18)), {}),
    "grey palette": (with_palette(PERSON, [(0, 0, 0), (255, 255, 255)]), {}),
    "cut-out": (np.dstack([photo(), grey]), {}),
    "cut-out on black": (np.dstack([photo() * PERSON[..., None], grey]), {}),
    "white with alpha": (np.dstack([np.full((*PERSON.shape, 3), 255, np.uint8), grey]), {}),
    "grey with alpha": (Image.merge("LA", (Image.new("L", SIZE, 255), Image.fromarray(grey))), {}),
    "opaque RGBA": (np.dstack([grey, grey, grey, np.full_like(grey, 255)]), {}),
    "transparent palette": transparent(PERSON),
}


@pytest.mark.parametrize("kind", RIGHT)
def test_kinds_of_masks(tmp_path, kind):
    picture, options = RIGHT[kind]
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(tmp_path / "a.png", **options)
    assert np.array_equal(np.asarray(read_mask(tmp_path / "a.png", SIZE)), grey)
    assert np.array_equal(np.asarray(read_mask(tmp_path / "a.png", SIZE, invert=True)), 255 - grey)


def test_soft_mattes_and_float_mattes_and_jpegs(tmp_path):
    Image.fromarray(soft()).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_mask(tmp_path / "a.png", SIZE)), soft())
    Image.fromarray(soft().astype(np.float32) / 255).save(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(read_mask(tmp_path / "a.tif", SIZE)), soft())
    Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(tmp_path / "a.jpg", quality=80)
    assert np.array_equal(np.asarray(read_mask(tmp_path / "a.jpg", SIZE)) > 127, PERSON)


WRONG = {
    "photo": (photo(), r"expected a mask in grey or alpha, .* found 2\d\d\d colours \(\(.*\) \.\.\.\)"),
    "grey photo": (photo()[..., 0], r"found 256 values 0\.\.255: a photo\?"),
    "other colours": (paint([(1, 2, 3), (200, 20, 20)]), r"found 3 colours \(\(1, 2, 3\), \(200, 20, 20\)\)"),
    "class numbers": (classes(20), r"found 20 values 0\.\.19: numbers of classes\?"),
    "two classes": (classes(3), "found values 0, 1, 2: numbers of classes"),
    "half grey": (128 * PERSON.astype(np.uint8), "found values 0, 128: classes"),
    "one value": (np.full_like(grey, 77), "expected a mask of 0 and 1 or 0..255, found 77 everywhere"),
    "nothing": (np.dstack([photo(), 0 * grey]), "a picture that is transparent everywhere"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_mask(tmp_path, kind):
    picture, message = WRONG[kind]
    Image.fromarray(picture).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=f"a.png: .*{message}"):
        read_mask(tmp_path / "a.png", SIZE)


def test_sizes_and_orientations(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(grey)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(np.asarray(read_mask(tmp_path / "a.png", SIZE)), grey)
    with pytest.raises(UserError, match="expected 40x61 pixels as the photo, found 40x60$"):
        read_mask(tmp_path / "a.png", (40, 61))
    with pytest.raises(UserError, match="expected 60x40 .*; does one of them lack the other's EXIF orientation"):
        read_mask(tmp_path / "a.png", (60, 40))


def test_the_first_colours_of_voc():
    """As its development kit prints them."""
    assert voc_palette(4) == [(128, 0, 0), (0, 128, 0), (128, 128, 0)] and voc_palette(10)[7:] == [
        (64, 0, 0), (192, 0, 0),
    ]  # fmt: skip


# ---- a mask in a portrait -------------------------------------------------------------------------------------------

MARKS = np.full((68, 2), 50.0)
MARKS[17:, 0] = np.linspace(40, 60, 51)


def square(left, right, top=20, bottom=100) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


@pytest.mark.parametrize(
    "mask, message",
    [
        (square(20, 80), None),
        (square(0, 100, 0), "expected some background in the portrait, found a mask that covers 100% of it"),
        (square(0, 4), "expected a person in the portrait, found a mask that covers 3.2% of it"),
        (255 - square(20, 80), "expected the face in the mask, found 0% of its landmarks there"),
        (square(53, 90), "expected the face in the mask, found 37% of its landmarks there"),  # 53, ... 60 of 40 ... 60
        (square(47, 90), None),
    ],
)
def test_masks_in_portraits(mask, message):
    assert mask_fault(mask, MARKS) == message


def test_only_what_the_photo_shows_counts():
    """The photo ends at column 45: the landmarks beyond are neither here nor there, and what is left is all person."""
    seen = np.zeros((100, 100), bool)
    seen[:, :45] = True
    assert mask_fault(square(20, 45), MARKS, seen) is None
    assert mask_fault(square(0, 45, 0), MARKS, seen) == (
        "expected some background in the portrait, found a mask that covers 100% of it"
    )
