"""The super-resolution hook: commands, torchscript files, and what can be wrong with them."""

import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from torch_utils.misc import UserError
from training.data.prepare.super_resolution import make_upscaler

DOUBLE = (
    "import sys; from PIL import Image; a, b = sys.argv[1:]; "
    "i = Image.open(a); i.resize((2 * i.width, 2 * i.height), 0).save(b)"
)


def make_image(width=6, height=4) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save_module(path, module) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(module), str(path))
    return str(path)


class Constant(torch.nn.Module):
    def __init__(self, height: int, value: float):
        super().__init__()
        self.height, self.value = height, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((1, 3, self.height, 12), self.value)


def test_a_command_enlarges():
    image = make_image()
    large = make_upscaler(f"{sys.executable} -c '{DOUBLE}' {{in}} {{out}}")(image)
    assert np.array_equal(np.asarray(large), np.asarray(image).repeat(2, 0).repeat(2, 1))


def test_a_torchscript_file_enlarges(tmp_path):
    image = make_image()
    path = save_module(tmp_path / "net.pt", torch.nn.Upsample(scale_factor=3.0, mode="nearest"))
    large = make_upscaler(path, "cpu")(image)
    assert np.array_equal(np.asarray(large), np.asarray(image).repeat(3, 0).repeat(3, 1))


def test_what_can_be_wrong(tmp_path):
    (tmp_path / "text.pt").write_text("no net")
    for what, message in (
        ("no-such-program {in} {out}", "--sr: no such program: no-such-program"),
        (str(tmp_path / "none.pt"), "expected a command with {in} and {out}, or a torchscript file"),
        (str(tmp_path / "text.pt"), "text.pt: expected a torchscript file, found another"),
    ):
        with pytest.raises(UserError) as error:
            make_upscaler(what, "cpu")
        assert message in str(error.value)
    python = sys.executable
    for what, message in (
        (f"{python} -c 'import sys; sys.exit(\"out of memory\")' {{in}} {{out}}", "ended with code 1: out of memory"),
        (f"{python} -c pass {{in}} {{out}}", "wrote no picture to {out}"),
        (save_module(tmp_path / "odd.pt", Constant(9, 0.5)), "enlarged by a whole factor, found (12, 9)"),
        (save_module(tmp_path / "nan.pt", Constant(8, float("nan"))), "expected finite [1, 3, H, W]"),
    ):
        with pytest.raises(UserError) as error:
            make_upscaler(what, "cpu")(make_image())
        assert message in str(error.value)
