"""Features of a fixed, seeded, untrained convolutional net.

They need no pretrained weights and take seconds, so they can watch a run. Distances between them are *not* the FID:
their numbers compare only with each other.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 64  # pixels a side of what the net sees
CHANNELS = (3, 16, 32, 64)


class RandomFeatures(nn.Module):
    """Pictures [B, 3, H, W] in -1..1 -> features [B, 160]: mean activations of three layers, and 4 x 4 mean colours."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.layers = nn.ParameterList(
            torch.randn(out, width, 3, 3, generator=random) * (2 / (9 * width)) ** 0.5
            for width, out in zip(CHANNELS[:-1], CHANNELS[1:], strict=True)
        ).requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        x = F.interpolate(image.float(), (SIZE, SIZE), mode="bilinear", antialias=True)
        features = [F.adaptive_avg_pool2d(x, 4).flatten(1)]
        for weight in self.layers:
            x = F.leaky_relu(F.conv2d(x, weight, stride=2, padding=1), 0.2)
            features.append(x.mean((2, 3)))
        return torch.cat(features, 1)
