"""Picture files as cameras, programs and people write them -> upright 8-bit sRGB. Every picture is opened here.

(Pictures of a data set, whose format is ours, are decoded strictly: training/data/png.py.)
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from torch_utils.misc import UserError, one_line

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
WHITE = (255, 255, 255)
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations whose rows are columns of the upright picture
_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")


def read_picture(path: str | Path) -> Image.Image:
    """A picture as upright RGB in sRGB; what is transparent in it is white.

    Raises:
        UserError: missing, damaged, cut short, or neither 8- nor 16-bit.
    """
    return open_picture(path, as_rgb)


def picture_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture as :func:`open_picture` turns it, not decoded. Raises UserError likewise."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            return (
                (height, width) if picture.getexif().get(ExifTags.Base.Orientation, 1) in SIDEWAYS else (width, height)
            )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # decoders raise many kinds
        raise UserError(f"{path}: damaged, cut short or no picture ({one_line(str(error))})") from None


def open_picture(path: str | Path, convert: Callable[[Image.Image], Image.Image] = Image.Image.copy) -> Image.Image:
    """What ``convert`` makes of a picture that is decoded and turned as its EXIF orientation says.

    Raises:
        UserError: missing, damaged or cut short, or what ``convert`` raises, with the file's name.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")  # Pillow's about odd metadata, which are nobody's business here
            picture.load()
            return convert(ImageOps.exif_transpose(picture))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # decoders raise many kinds: OSError, SyntaxError, DecompressionBombError ...
        raise UserError(f"{path}: damaged, cut short or no picture ({one_line(str(error))})") from None


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as RGB, by its colour profile where it has one; transparent is white."""
    opacity, picture = alpha(picture), as_8_bit(picture)
    colours = _to_srgb(picture if picture.mode in ("L", "CMYK", "LAB") else picture.convert("RGB"))
    if opacity is None:
        return colours
    return Image.composite(colours, Image.new("RGB", colours.size, WHITE), opacity)


def alpha(picture: Image.Image) -> Image.Image | None:
    """The alpha channel (L), also of a palette or colour that is said to be transparent; None where there is none."""
    if picture.mode in _ALPHA_MODES:
        return picture.getchannel(picture.mode[-1])
    return picture.convert("RGBA").getchannel("A") if "transparency" in picture.info else None


def as_8_bit(picture: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey (Pillow has cut 16-bit colours to 8 already), alpha that is multiplied in taken out.

    Raises:
        UserError: numbers of another kind, such as floating-point ones.
    """
    if picture.mode in ("RGBa", "La"):
        return picture.convert(picture.mode.upper())
    if picture.mode[0] not in "IF":
        return picture
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
        raise UserError(
            f"expected an 8- or 16-bit picture, found {picture.mode} with {values.min():g}..{values.max():g}"
        )
    # A 16-bit file whose numbers all fit into 8 bits holds 8-bit ones.
    return Image.fromarray((values if values.max() <= 0xFF else np.rint(values / 257.0)).astype(np.uint8))


def _to_srgb(picture: Image.Image) -> Image.Image:
    """L, RGB, CMYK or LAB -> RGB. A profile that is damaged or of another kind of picture is left aside."""
    data = picture.info.get("icc_profile") or b""
    lab = picture.mode == "LAB"
    try:
        if lab or data:
            given = ImageCms.createProfile("LAB") if lab else ImageCms.ImageCmsProfile(io.BytesIO(data or b""))
            converted = ImageCms.profileToProfile(
                picture,
                given,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                return converted
    except (ImageCms.PyCMSError, OSError, ValueError):
        pass
    return picture.convert("RGB")


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
