"""Layers shared by the sub-networks: mapping network, FiLM-SIREN layer, modulated convolution, initialisations."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# FiLM frequencies leave the mapping network near zero; the SIREN runs at 30 +- 15 f (pi-GAN, GRAM).
FREQUENCY_SCALE, FREQUENCY_SHIFT = 15.0, 30.0
# Canonical points are brought to about [-1, 1] before any network sees them, by its first layer: x * 2 / 0.24.
WARP_SCALE = 2.0 / 0.24


class MappingNetwork(nn.Sequential):
    """Latent [B, in_dim] -> style [B, out_dim] through three LeakyReLU(0.2) layers.

    The last layer starts at a quarter of its Kaiming scale, so that all styles start close to each other.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int):
        layers: list[nn.Module] = []
        for width_in in (in_dim, hidden_dim, hidden_dim):
            layers += [nn.Linear(width_in, hidden_dim), nn.LeakyReLU(0.2)]
        output = nn.Linear(hidden_dim, out_dim)
        super().__init__(*layers, output)
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=0.2, mode="fan_in", nonlinearity="leaky_relu")
        with torch.no_grad():
            output.weight *= 0.25

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        layer = self[-1]
        assert isinstance(layer, nn.Linear)
        return layer


class FiLMLayer(nn.Module):
    """sin(frequency * (W x + b) + phase), per sample of the batch.

    The modulation is folded into W and b, so that a layer is one matrix product and one sine: no [B, N, C]
    intermediates beyond them, forward or backward.
    """

    def __init__(self, in_dim: int, out_dim: int, *, first: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim))
        self.bias = nn.Parameter(torch.empty(out_dim))
        bound = 1 / in_dim if first else math.sqrt(6 / in_dim) / 25
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -1 / math.sqrt(in_dim), 1 / math.sqrt(in_dim))

    def folded(self, frequency: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
        """Weight [B, in, out] and bias [B, 1, out] with which the layer is sin(x W + b), for styles [B, out]."""
        frequency = frequency * FREQUENCY_SCALE + FREQUENCY_SHIFT
        return (frequency[:, :, None] * self.weight).transpose(1, 2), (frequency * self.bias + phase)[:, None]

    def forward(self, x: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
        """x [B, N, in], frequency and phase [B, out] -> [B, N, out]."""
        return sine(x, *self.folded(frequency, phase))


def sine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """sin(x W + b): x [B, N, in], weight [B, in, out], bias [B, 1, out] -> [B, N, out]."""
    product = torch.baddbmm(bias, x, weight)
    return torch.sin(product) if product.requires_grad else product.sin_()


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style and whose filters are renormalised (StyleGAN2)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.kaiming_normal_(self.weight, a=0.2, mode="fan_in", nonlinearity="leaky_relu")

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x [B, K, C, H, W] (K manifolds share a style), style [B, C] -> [B, K, C', H, W]."""
        weight = self.weight * style[:, None, :, None, None]  # [B, C', C, k, k]
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        padding = self.weight.shape[-1] // 2
        return torch.stack([F.conv2d(xi, wi, self.bias, padding=padding) for xi, wi in zip(x, weight, strict=True)])


def weight_and_bias(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Of a linear layer or a convolution that has both."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    return weight, bias
