"""One model against one data set: the numbers of the paper's tables, and those of control."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from torch_utils.distributed import World
from torch_utils.misc import UserError
from training.data.storage import Dataset
from training.metrics.detectors import Detector
from training.metrics.distances import KID_SUBSET_SIZE, feature_statistics, frechet_distance, kernel_distance
from training.metrics.features import cached_features, default_cache, extract_features, from_main
from training.metrics.pictures import CachedPictures, DatasetPictures, Pictures, RenderedPictures
from training.metrics.renderers import VIEWS, Renderer
from training.sampling import InputSampler

DISTANCES = ("fid", "kid")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured, and from how many pictures."""

    metrics: tuple[str, ...] = DISTANCES
    regions: tuple[str, ...] = ("full", "face")
    num: int = 20_000  # generated pictures, and at most so many real ones
    kid_subset: int = KID_SUBSET_SIZE
    batch_size: int = 16  # pictures the detector sees at a time
    seed: int = 0

    def __post_init__(self):
        for name, allowed in (("metrics", DISTANCES), ("regions", tuple(VIEWS))):
            unknown = [value for value in getattr(self, name) if value not in allowed]
            if unknown or not getattr(self, name):
                found = f"'{unknown[0]}'" if unknown else "none"
                raise UserError(f"--{name}: expected some of {', '.join(allowed)}, found {found}")


def evaluate(
    renderer: Renderer,
    dataset: Dataset,
    detector: Detector,
    config: EvaluationConfig,
    world: World,
    *,
    cache: Path | None = None,
    size: dict[str, int] | None = None,
) -> dict[str, float]:
    """Distances between what ``renderer`` makes of the data set's labels and its pictures (method notes, section 5).

    Args:
        renderer: a generator, or the true drawings.
        dataset: its pictures are resampled to ``size``.
        detector: whose features are compared.
        config: what to measure.
        world: all its processes call this, with the same arguments.
        cache: folder of the features of data sets.
        size: pixels a side by camera, at which pictures are compared; the renderer's by default.

    Returns:
        ``NAME/REGION``: value, with the detector's names (``FID/full``, ``KD-attr/face``); kernel distances x100. The
        same on every process.

    Raises:
        UserError: the data set's pictures are smaller than that, are fewer than a KID subset, or a picture
            is damaged or not finite.
    """
    size = size or renderer.size
    sizes = {region: size[VIEWS[region]] for region in config.regions}
    real = DatasetPictures(dataset, sizes, config.num)
    fake = RenderedPictures(renderer, InputSampler(dataset, None, 0), config.regions, config.num, config.seed, sizes)
    return compare(real, fake, detector, config, world, cache=cache)


def compare(
    real: CachedPictures,
    fake: Pictures,
    detector: Detector,
    config: EvaluationConfig,
    world: World,
    *,
    cache: Path | None = None,
) -> dict[str, float]:
    """The distances between two sources of pictures; arguments and result as of :func:`evaluate`."""
    fewest = min(len(real), len(fake))
    if "kid" in config.metrics and fewest < config.kid_subset:
        raise UserError(f"--kid_subset: expected at most {fewest}, the number of images, found {config.kid_subset}")
    if fewest < 2:
        raise UserError(f"--num: expected at least 2 images on either side, found {fewest}")
    reals = cached_features(real, detector, cache or default_cache(), world, batch_size=config.batch_size)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        fakes = extract_features(fake, detector, Path(folder), world, batch_size=config.batch_size)
        for region in fakes:
            found |= distances(reals[region], fakes[region], detector, config, region)
    return from_main(found, world)


def doubts(config: EvaluationConfig, detector: Detector, fewest: int) -> list[str]:
    """A line for every distance that ``fewest`` images (on the side that has fewer) say little about."""
    found = []
    if "fid" in config.metrics and fewest <= detector.width:
        found.append(
            f"{detector.frechet} of {fewest} images means nothing by itself: expected more than its {detector.width} "
            "features, usually 20,000. It comes out too large, and compares with the same number of images only"
        )
    if "kid" in config.metrics and fewest < KID_SUBSET_SIZE:
        found.append(
            f"{detector.kernel} of {fewest} images is rough: expected {KID_SUBSET_SIZE} or more. It scatters more "
            "than models usually differ"
        )
    return found


def distances(
    real: np.ndarray, fake: np.ndarray, detector: Detector, config: EvaluationConfig, region: str
) -> dict[str, float]:
    """Of features [N, D] and [M, D]."""
    found = {}
    if "fid" in config.metrics:
        found[f"{detector.frechet}/{region}"] = frechet_distance(feature_statistics(real), feature_statistics(fake))
    if "kid" in config.metrics:
        kernel = kernel_distance(real, fake, subset_size=config.kid_subset)
        found[f"{detector.kernel}/{region}"] = 100 * kernel.mean
    return found
