"""Pictures in -1..1 as 8-bit pixels, the same way wherever they are written."""

import numpy as np
import torch
from torch import Tensor


def to_bytes(image: Tensor) -> Tensor:
    """Any shape in -1..1 -> uint8 on the CPU, rounded to nearest."""
    return ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def image_to_uint8(image: Tensor) -> np.ndarray:
    """[3, H, W] in -1..1 -> uint8 [H, W, 3]."""
    return to_bytes(image).permute(1, 2, 0).numpy()
