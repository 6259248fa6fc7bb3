"""Poses unlike any of training, brought near them: PCA of what the nets are shown of a pose."""

import torch
from torch import Tensor, nn

from torch_utils.device import full_precision


class PoseProjection(nn.Module):
    """The nearest point of the training poses' first components, within so many standard deviations.

    Buffers, saved with the weights. Solved in full, so that the same rows give the same components.

    Args:
        width: numbers of a row.
        components: at most so many; fewer rows span fewer.
        sigma: standard deviations a coefficient may be from the mean.
    """

    mean: Tensor
    basis: Tensor
    deviations: Tensor

    def __init__(self, width: int, components: int, sigma: float = 2.0):
        super().__init__()
        self.sigma = sigma
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(components, width))  # unit rows, or zeros
        self.register_buffer("deviations", torch.zeros(components))  # n - 1

    @torch.no_grad()
    @full_precision()
    def fit(self, rows: Tensor) -> None:
        """To rows [N, width] of training, N >= 2. Raises ValueError."""
        if rows.ndim != 2 or len(rows) < 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"rows: expected shape [N, {len(self.mean)}], N >= 2, found {list(rows.shape)}")
        mean = rows.mean(0)
        _, values, basis = torch.linalg.svd(rows - mean, full_matrices=False)
        count = min(len(self.basis), len(rows) - 1, rows.shape[1])
        self.basis.zero_(), self.deviations.zero_()
        self.mean.copy_(mean)
        self.basis[:count] = basis[:count].to(self.basis)
        self.deviations[:count] = (values[:count] / (len(rows) - 1) ** 0.5).to(self.deviations)

    @full_precision()
    def coefficients(self, rows: Tensor) -> Tensor:
        """[N, width] -> [N, components], within sigma standard deviations."""
        limit = self.sigma * self.deviations
        return ((rows - self.mean) @ self.basis.T).clamp(-limit, limit)

    @full_precision()
    def forward(self, rows: Tensor) -> Tensor:
        """[N, width] -> the same, projected."""
        return self.mean + self.coefficients(rows) @ self.basis
