"""A second look at poses: a residual network by itself, which no score has had a say in.

Unlike E_D it learns after the game alone, from generated people (``training.trigrid.pose_lessons --people_of``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.trigrid.camera_labels import POSE_SIZE, direction_harmonics, is_left
from networks.trigrid.discriminator import folded, turned_back
from networks.trigrid.superresolution import resized

SIZE = 64  # pixels a side of what it looks at
HARMONICS = 3
FACTORS = 2 + 2 * HARMONICS  # of a camera's direction
FIRST_TURNS = 0.1  # of its last layer, times the usual first weights
HIDDEN = 128  # numbers before the last layer


class PoseRegressor(nn.Module):
    """Picture, mask and camera -> pose; views from the left are mirrored first, the answer is mirrored back.

    All of it knows where the camera stands: features are scaled and shifted by it (FiLM; Perez et al. 2018), and the
    last layer is a Fourier series in its angle, as E_D's may be.

    Args:
        channels: of the first layers.
    """

    scale: Tensor

    def __init__(self, channels: int = 24):
        super().__init__()
        c = channels
        self.channels = c
        self.stem = nn.Conv2d(4, c, 5, 2, 2)
        ends = ((c, c, 1), (c, 2 * c, 2), (2 * c, 4 * c, 2), (4 * c, 4 * c, 2))
        self.blocks = nn.ModuleList(CameraBlock(*end) for end in ends)
        self.norm = nn.BatchNorm2d(4 * c)
        self.hidden = nn.Linear(4 * c * (SIZE // 16) ** 2, HIDDEN)
        self.last = nn.Linear(HIDDEN * FACTORS, POSE_SIZE)
        with torch.no_grad():
            self.last.weight.mul_(FIRST_TURNS)
        self.register_buffer("scale", torch.ones(POSE_SIZE))  # radians, of what it says

    def forward(self, image: Tensor, mask: Tensor, camera: Tensor) -> Tensor:
        """Portraits [B, 3, H, H] in -1..1 with masks [B, 1, R, R] in 0..1 before cameras [B, 25] -> poses [B, 6]."""
        left = is_left(camera)[:, None]
        image, mask = resized(image, SIZE), resized(mask, SIZE)
        x = torch.cat([image * mask, 2 * mask - 1], 1)
        x = torch.where(left[..., None, None], x.flip(-1), x)
        direction = direction_harmonics(folded(camera, left), HARMONICS)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x, direction)
        x = F.relu(self.hidden(F.relu(self.norm(x)).flatten(1)))
        pose = self.last((x[:, :, None] * direction[:, None]).flatten(1))
        return turned_back(self.scale * pose.float(), left)


class CameraBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, full pre-activation), between them what the camera does.

    Args:
        inside, outside: channels.
        stride: 1, or 2: to half the size.
    """

    def __init__(self, inside: int, outside: int, stride: int):
        super().__init__()
        self.stride = stride
        self.norm0, self.norm1 = nn.BatchNorm2d(inside), nn.BatchNorm2d(outside)
        self.conv0 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv1 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.skip = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1, bias=False)
        self.camera = nn.Linear(FACTORS, 2 * outside)
        nn.init.zeros_(self.camera.weight)
        nn.init.zeros_(self.camera.bias)

    def forward(self, x: Tensor, direction: Tensor) -> Tensor:
        """x [B, C, H, W], direction [B, FACTORS]."""
        gain, shift = self.camera(direction)[:, :, None, None].chunk(2, 1)
        y = self.conv0(F.relu(self.norm0(x)))
        y = self.conv1(F.relu(self.norm1(y) * (1 + gain) + shift))
        return self.skip(F.avg_pool2d(x, 2) if self.stride == 2 else x) + y
