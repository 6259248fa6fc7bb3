"""The super-resolution hook: a command or a torchscript file of the user's. Neither comes with this project."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from networks.person.framing import Cut
from torch_utils.misc import UserError, one_line, resolve_device
from torch_utils.pictures import read_picture

Upscaler = Callable[[Image.Image], Image.Image]
TIME_LIMIT = 600  # seconds for one picture


def make_upscaler(what: str, device: str = "auto") -> Upscaler:
    """What enlarges a picture (RGB, any size) by a whole factor.

    Args:
        what: a command with {in} and {out} in place of the two PNG files (no shell is involved), or the path of a
            torchscript file [1, 3, H, W] -> [1, 3, f H, f W], colours in 0..1.
        device: for torchscript (see torch_utils.misc.resolve_device).

    Raises:
        UserError: it is neither; called: it fails, or what comes back is not the picture enlarged.
    """
    if "{in}" in what and "{out}" in what:
        if shutil.which(program := shlex.split(what)[0]) is None:
            raise UserError(f"--sr: no such program: {program}")
        return lambda image: _checked(image, _run_command(what, image), "--sr")
    path = Path(what)
    if not path.is_file():
        raise UserError(f"--sr: expected a command with {{in}} and {{out}}, or a torchscript file, found '{what}'")
    place = resolve_device(device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torchscript is what users of such nets have
            module = torch.jit.load(path, map_location=place).eval()
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise UserError(
            f"--sr: {path}: expected a torchscript file, found another ({one_line(str(error))[:200]})"
        ) from None
    return lambda image: _checked(image, _run_module(module, image, place, path), str(path))


def _run_command(command: str, image: Image.Image) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/in.png", f"{folder}/out.png"
        image.save(source)
        words = [word.replace("{in}", source).replace("{out}", target) for word in shlex.split(command)]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIME_LIMIT)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"--sr: {words[0]} failed: {one_line(str(error))}") from None
        if done.returncode:
            raise UserError(f"--sr: {words[0]} ended with code {done.returncode}: {one_line(done.stderr)[-200:]}")
        try:
            return read_picture(target)
        except UserError as error:
            raise UserError(f"--sr: {words[0]} wrote no picture to {{out}}: {error}") from None


def _run_module(module: torch.nn.Module, image: Image.Image, device: torch.device, path: Path) -> Image.Image:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(device) / 255.0
    try:
        with torch.no_grad():
            large = module(pixels)
    except Exception as error:  # whatever the user's net raises
        raise UserError(f"--sr: {path} failed: {one_line(str(error))[-200:]}") from None
    if not torch.is_tensor(large) or large.ndim != 4 or large.shape[:2] != (1, 3) or not large.isfinite().all():
        raise UserError(f"--sr: {path}: expected finite [1, 3, H, W], found {getattr(large, 'shape', type(large))}")
    array = (large[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array)


def _checked(small: Image.Image, large: Image.Image, where: str) -> Image.Image:
    factor = large.width // small.width
    if factor < 1 or large.size != (factor * small.width, factor * small.height):
        raise UserError(f"{where}: expected {small.size} enlarged by a whole factor, found {large.size}")
    return large


def enlarge(source: Cut, upscale: Upscaler) -> Cut:
    """A cut, super-resolved; its mask is interpolated. Raises UserError where super-resolution fails."""
    image = upscale(source.image)
    mask = source.mask.resize(image.size, Image.Resampling.BICUBIC)
    return source._replace(image=image, mask=mask, factor=source.factor * image.width / source.image.width)
