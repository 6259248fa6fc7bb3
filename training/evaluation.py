"""The distance between what the generator makes and the data, measured at every snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_utils.pixels import to_bytes
from training.config import TrainConfig
from training.data.png import decode_png
from training.data.storage import Dataset
from training.metrics.detectors import load_detector
from training.metrics.distances import FeatureStatistics, feature_statistics, frechet_distance
from training.phases import resize
from training.run.snapshot import render_images

EVALUATION_KEY = 0xE7A1  # of its draws: the same people every time
BATCH = 16


Features = Callable[[Tensor], Tensor]  # of a detector


def metric_features(config: Any, device: torch.device) -> Features | None:
    """What the pictures of a run are compared by; None where nothing is measured.

    Raises:
        UserError: weights of the detector are missing.
    """
    if not config.run.metric_images:
        return None
    files = {} if config.face_recon is None else {"face_recon_file": config.face_recon}
    return load_detector(config.run.metric_detector, device, **files).features


class Evaluation:
    """Fréchet distances over ``config.run.metric_images`` pictures, by ``config.run.metric_detector``'s features.

    Statistics of the data are made when first needed. ``python -m training.metrics`` compares more pictures.
    """

    def __init__(self, config: Any, dataset: Dataset, sampler: Any, features: Features | None):
        self.config, self.dataset, self.sampler, self.features = config, dataset, sampler, features
        self.real: dict[str, FeatureStatistics] = {}

    def sizes(self) -> dict[str, int]:
        """Pixels a side of the pictures of every view, ``portrait`` or ``face``."""
        config: TrainConfig = self.config
        known = {"portrait": config.portrait_size, "face": config.face_size}
        return {view: known[view] for view in config.discriminators.views}

    def render(self, generator: Any, inputs: Any) -> dict[str, Tensor]:
        """Pictures [N, 3, H, W] in -1..1 by view, of inputs that the sampler drew, on the CPU."""
        return render_images(generator, self.config, inputs)

    def __call__(self, generator: Any) -> dict[str, float]:
        """``distance/portrait``, ``distance/face`` as far as there are such views, and ``distance``, their mean."""
        count = self.config.run.metric_images
        if not count:
            return {}
        if not self.real:
            self.real = {view: self._real(view, count) for view in self.sizes()}
        inputs = self.sampler.draw(count, self.config.seed, EVALUATION_KEY)
        found: dict[str, list] = {view: [] for view in self.real}
        for i in range(0, count, BATCH):
            for view, images in self.render(generator, inputs.part(slice(i, i + BATCH))).items():
                found[view].append(self._features(images))
        distances = {
            f"distance/{view}": frechet_distance(feature_statistics(torch.cat(parts).numpy()), self.real[view])
            for view, parts in found.items()
        }
        return {**distances, "distance": sum(distances.values()) / len(distances)}

    def _real(self, view: str, count: int) -> FeatureStatistics:
        """Statistics of the first pictures of the data set."""
        portrait = view == "portrait"
        read = self.dataset.read_image if portrait else self.dataset.read_face
        size = self.dataset.image_size if portrait else self.dataset.face_size
        shown = self.sizes()[view]
        parts = []
        for i in range(min(count, len(self.dataset))):
            pixels = torch.from_numpy(decode_png(read(i), size, f"{self.dataset.path}: {view} {i}").copy())
            parts.append(self._features(resize(pixels.permute(2, 0, 1)[None], shown)))
        return feature_statistics(torch.cat(parts).numpy())

    def _features(self, images: Tensor) -> Tensor:
        """Of pictures [B, 3, H, W] in -1..1."""
        assert self.features is not None
        return self.features(to_bytes(images))
