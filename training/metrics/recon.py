"""How near pictures of a person are to true frames of the same moments, as Animatable Gaussians are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.nn import functional as F

from networks.perceptual import load_efficientnet, perceptual_distance
from torch_utils.misc import UserError
from training.metrics.detectors import Detector
from training.metrics.distances import feature_statistics, frechet_distance
from training.metrics.lpips_distance import load_lpips

MARGIN, CROP = 50, 512  # pixels around the mask's box, and a side of what is made of it
LEAST_FOREGROUND = 128  # a mask is foreground above it
T = TypeVar("T")
Compare = Callable[[Tensor, Tensor], Tensor]  # pictures [B, 3, H, W] in -1..1, twice -> [B]
BEST = 100.0  # dB; of pictures that are equal


class Pair(NamedTuple):
    """A frame; colours are uint8 on white."""

    ours: Tensor  # [3, H, W]
    truth: Tensor  # [3, H, W]
    mask: Tensor | None = None  # [H, W] bool, the true foreground
    alpha: Tensor | None = None  # [H, W] in 0..1, of ours


class Frames(Protocol):
    """Pairs to be measured."""

    name: str

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Pair]: ...


class Judges(NamedTuple):
    """Nets that compare crops; each where its weights are there."""

    lpips: Compare | None
    lite0: Compare | None
    detector: Detector | None
    left_out: list[str]  # a line for each that is not


def load_judges(device: torch.device, load_detector: Callable[[], Detector]) -> Judges:
    """All that can be had: what is missing is left out, and said so."""
    left_out: list[str] = []

    def tried(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except UserError as error:
            left_out.append(str(error))
            return None

    def lite0() -> Compare:
        return partial(perceptual_distance, load_efficientnet("perceptual-lite0").to(device))

    return Judges(tried(lambda: load_lpips(device)), tried(lite0), tried(load_detector), left_out)


@torch.no_grad()
def measure_recon(frames: Iterable[Pair], judges: Judges, device: torch.device) -> dict[str, float]:
    """Means over frames.

    ``psnr`` (dB, of a range of 1) and ``ssim`` (Wang et al. 2004: windows of 7 x 7, mean over channels): whole frames
    on white. ``lpips``, ``perceptual-lite0`` and a Frechet distance by its detector's name, FID or another, on crops:
    the mask's box and 50 pixels more, made square with white, at 512^2. Without a mask the whole frame is the crop.
    ``mask_iou``: of our alpha above a half and the true mask; ``mask_l1``: their mean difference.
    """
    rows: dict[str, list[float]] = {}
    features: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for pair in frames:
        for name, value in measure_pair(pair, judges, features, device).items():
            rows.setdefault(name, []).append(value)
    found = {name: float(np.mean(values)) for name, values in rows.items()}
    if judges.detector is not None and len(features[0]) > 1:
        ours, truth = (feature_statistics(np.concatenate(part)) for part in features)
        found[judges.detector.frechet] = frechet_distance(ours, truth)
    return found


def measure_pair(
    pair: Pair, judges: Judges, features: tuple[list[np.ndarray], list[np.ndarray]], device: torch.device
) -> dict[str, float]:
    """The numbers of one frame; what the detector sees in both crops goes to ``features``."""
    ours, truth = (part.double() / 255 for part in (pair.ours, pair.truth))
    found = {"psnr": psnr(ours, truth), "ssim": ssim(ours, truth)}
    crops = [crop(part.float() / 127.5 - 1, pair.mask)[None] for part in (pair.ours, pair.truth)]
    for name, judge in (("lpips", judges.lpips), ("perceptual-lite0", judges.lite0)):
        if judge is not None:
            found[name] = judge(*(part.to(device) for part in crops)).item()
    if judges.detector is not None:
        for part, into in zip(crops, features, strict=True):
            into.append(judges.detector.features(((part + 1) * 127.5).round().to(torch.uint8)).numpy())
    if pair.mask is not None and pair.alpha is not None:
        seen = pair.alpha > 0.5
        union = (seen | pair.mask).sum().clamp_min(1)
        found["mask_iou"] = ((seen & pair.mask).sum() / union).item()
        found["mask_l1"] = (pair.alpha - pair.mask.float()).abs().mean().item()
    return found


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in 0..1, dB; at most BEST."""
    error = (a - b).square().mean().item()
    return BEST if error == 0 else min(BEST, -10 * float(np.log10(error)))


def ssim(a: Tensor, b: Tensor) -> float:
    """Of pictures [3, H, W] in 0..1, 7 pixels a side at least, as scikit-image has it."""
    return float(structural_similarity(a.numpy(), b.numpy(), channel_axis=0, data_range=1.0))


def crop(image: Tensor, mask: Tensor | None, size: int = CROP) -> Tensor:
    """[3, H, W] in -1..1 -> [3, size, size]: the mask's box and MARGIN around it, or all, made square with white."""
    rows = columns = slice(None)
    if mask is not None and mask.any():
        rows, columns = (_span(mask.any(dim)) for dim in (1, 0))
    part = image[:, rows, columns]
    height, width = part.shape[1:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = F.pad(part, (left, side - width - left, top, side - height - top), value=1.0)
    return F.interpolate(square[None], (size, size), mode="bilinear", align_corners=False)[0]


def _span(present: Tensor) -> slice:
    """From the first to before the last that is true, with the margin, as published."""
    places = present.nonzero().flatten()
    return slice(max(int(places[0]) - MARGIN, 0), min(int(places[-1]) + MARGIN, len(present)))
