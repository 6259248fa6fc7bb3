"""SSIM as a loss: structure, where L1 alone would blur (Wang et al. 2004; a uniform window, as scikit-image's)."""

import torch
from torch import Tensor

WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2  # of a range of 1


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of pictures [B, C, H, W] in 0..1, 7 pixels a side at least, over whole windows and channels."""

    a, b = a.contiguous(), b.contiguous()
    height, width = (pixels - WINDOW + 1 for pixels in a.shape[2:])

    def mean(x: Tensor) -> Tensor:  # a row and a column of sums: on a CPU in a third of avg_pool2d's time
        rows = torch.stack([x[:, :, i : i + height] for i in range(WINDOW)]).sum(0)
        return torch.stack([rows[..., i : i + width] for i in range(WINDOW)]).sum(0) / WINDOW**2

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = (unbiased * (mean(x * x) - m * m) for x, m in ((a, mean_a), (b, mean_b)))
    covariance = unbiased * (mean(a * b) - mean_a * mean_b)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a.square() + mean_b.square() + _C1)
    structure = (2 * covariance + _C2) / (var_a + var_b + _C2)
    return torch.mean(luminance * structure)
