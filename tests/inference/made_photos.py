"""Photos that were tracked: renderings of models, whose labels are known."""

import numpy as np
import torch
from PIL import Image

from networks.person.fitting.photo import TrackedPhoto
from networks.person.framing import Cut, Placement
from torch_utils.pixels import image_to_uint8


def tracked(image: torch.Tensor, alpha: torch.Tensor, **labels: torch.Tensor) -> TrackedPhoto:
    """A portrait [3, H, H] as a photo in which somebody was found; ``labels`` replace zeros and a frontal camera."""
    shapes = {"z_id": 80, "betas": 10, "expression": 64, "joint_eulers": (6, 3)}
    rows = {name: torch.zeros(shape) for name, shape in shapes.items()} | {"camera": torch.full((2,), torch.pi / 2)}
    size = image.shape[-1]
    picture = Image.fromarray(image_to_uint8(image))
    mask = Image.fromarray(np.rint(255 * alpha.numpy()).astype(np.uint8))
    placement = Placement(2 / (size - 1) * np.eye(2), np.full(2, -1.0))
    return TrackedPhoto(Cut(picture, mask, (0, 0), 1.0), placement, **(rows | labels), error=1.0)
