"""Pictures, features and settings that are made up, and fast."""

import numpy as np
import torch
from PIL import Image

from training.metrics.detectors import Detector
from training.metrics.evaluation import EvaluationConfig
from training.metrics.renderers import Rendered

CPU = torch.device("cpu")


class Painter:
    """A renderer that is fast: flat pictures in a colour that the latents decide."""

    name, size, body = "painter", {"portrait": 16, "face": 8}, None

    def __call__(self, inputs, views):
        assert len(inputs.z_id) == 1
        colour = torch.tanh(inputs.z_id[:, :3])[..., None, None]
        sides = {view: self.size[view] for view in views}
        return {
            view: Rendered(colour.expand(1, 3, side, side), torch.ones(1, side, side), torch.ones(1, side, side))
            for view, side in sides.items()
        }


def config(**changes):
    return EvaluationConfig(**{"num": 12, "kid_subset": 6, "batch_size": 4} | changes)


def pixel_detector() -> Detector:
    """Features that are known: mean colours in 0..255."""
    return Detector("pixels", "none", 3, "FD", "KD", lambda images: images.float().mean((2, 3)))


def save(folder, sizes, start=0, brightest=255):
    folder.mkdir(exist_ok=True)
    for i, size in enumerate(sizes):
        pixels = np.random.default_rng([start, i]).integers(0, brightest + 1, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder
