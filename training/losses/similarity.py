"""SSIM as a loss: structure, where L1 alone would blur (Wang et al. 2004; a uniform window, as scikit-image's)."""

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2  # of a range of 1


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of pictures [B, C, H, W] in 0..1, 7 pixels a side at least, over whole windows and channels."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, WINDOW, stride=1)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = (unbiased * (mean(x * x) - m * m) for x, m in ((a, mean_a), (b, mean_b)))
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a.square() + mean_b.square() + _C1)
    structure = (2 * covariance + _C2) / (var_a + var_b + _C2)
    return torch.mean(luminance * structure)
