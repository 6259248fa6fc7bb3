"""Discriminators: D_whole sees the portrait, D_face the face camera's picture, D_torso the portrait's lowest quarter.

All three are the family's (pi-GAN, GRAM): residual CoordConv blocks with average pooling; the last convolution gives a
score and the camera the picture seems to be taken from (paper section 3.3). Like pi-GAN's they can grow.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.cameras import FRONTAL
from networks.layers import weight_and_bias
from torch_utils.bounds import Range, check_ranges

CAMERA_DIM = 2  # pitch, yaw
LAST_SIZE = 2  # pixels a side before the last convolution
SLOPE = 0.2  # of leaky ReLUs below 0
ChannelBase = Annotated[int, Range(1, 2**20)]
MaxChannels = Annotated[int, Range(1, 4096)]


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Sizes of a discriminator.

    A block that sees W pixels across has min(channel_base / W, max_channels) channels; the defaults are the family's,
    2^(13 - log2 W) up to 400.
    """

    width: int  # pixels of the picture, powers of two
    height: int
    channel_base: ChannelBase = 8192
    max_channels: MaxChannels = 400

    def __post_init__(self):
        check_ranges(self)
        for name in ("width", "height"):
            size = getattr(self, name)
            if not (isinstance(size, int) and LAST_SIZE <= size <= 4096 and size & (size - 1) == 0):
                raise ValueError(f"{name}: expected a power of two from {LAST_SIZE} to 4096, found {size}")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels at every size of the longer side, from the picture's down to LAST_SIZE."""
        size, channels = max(self.width, self.height), []
        while size >= LAST_SIZE:
            channels.append(max(1, min(self.channel_base // size, self.max_channels)))
            size //= 2
        return tuple(channels)


class Judgement(NamedTuple):
    """What a discriminator says of pictures."""

    score: Tensor  # [B] logit, high for real ones
    camera: Tensor  # [B, 2] (pitch, yaw) in radians


def torso_crop(image: Tensor) -> Tensor:
    """The lowest quarter of portraits: [B, 3, H, W] -> [B, 3, H/4, W]."""
    height = image.shape[-2]
    return image[..., height - height // 4 :, :]


class CoordConv2d(nn.Conv2d):
    """A same-size convolution that also reads every pixel's x and y in -1..1, as if they were two more channels."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3):
        super().__init__(in_channels + 2, out_channels, kernel_size, padding=kernel_size // 2)
        nn.init.kaiming_normal_(self.weight, a=SLOPE, mode="fan_in", nonlinearity="leaky_relu")

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        # The coordinates' share is the same for the whole batch: no copy of x with two channels appended.
        height, width = x.shape[-2:]
        columns = torch.linspace(-1, 1, width, dtype=x.dtype, device=x.device).expand(height, width)
        rows = torch.linspace(-1, 1, height, dtype=x.dtype, device=x.device)[:, None].expand(height, width)
        weight, coordinate_weight = self.weight[:, :-2], self.weight[:, -2:]
        place = F.conv2d(torch.stack([columns, rows])[None], coordinate_weight, self.bias, padding=self.padding)
        return F.conv2d(x, weight, padding=self.padding) + place


class ResidualBlock(nn.Module):
    """Two CoordConvs beside a shortcut; every side longer than LAST_SIZE pixels is halved."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = CoordConv2d(in_channels, out_channels)
        self.conv2 = CoordConv2d(out_channels, out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        # A 4:1 picture is pooled both ways until its short side is done, then along its long side alone.
        stride = tuple(2 if side > LAST_SIZE else 1 for side in x.shape[-2:])
        y = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), SLOPE)), SLOPE)
        return (F.avg_pool2d(y, stride) + self.shortcut(F.avg_pool2d(x, stride))) / math.sqrt(2)


class Discriminator(nn.Module):
    """D: pictures -> realness score and camera."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        channels = config.channels
        self.from_rgb = nn.Conv2d(3, channels[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(*pair) for pair in zip(channels[:-1], channels[1:], strict=True)))
        self.output = nn.Conv2d(channels[-1], 1 + CAMERA_DIM, LAST_SIZE)
        with torch.no_grad():  # a frontal camera to start with; 1.57 is far for Adam's small steps
            weight_and_bias(self.output)[1][1:] = FRONTAL

    def forward(self, image: Tensor) -> Judgement:
        """image [B, 3, H, W] in -1..1, of the configured size.

        Raises:
            ValueError: another size.
        """
        expected = (3, self.config.height, self.config.width)
        if tuple(image.shape[1:]) != expected:
            raise ValueError(f"expected images [B, {', '.join(map(str, expected))}], found {list(image.shape)}")
        if image.device.type == "cpu":  # oneDNN takes a tenth to a quarter less time so; of a GPU it is not known
            image = image.contiguous(memory_format=torch.channels_last)
        x = self.blocks(F.leaky_relu(self.from_rgb(image), SLOPE))
        score, camera = self.output(x).flatten(1).split([1, CAMERA_DIM], -1)  # [B, 1], [B, 2]
        return Judgement(score.squeeze(-1), camera)


@torch.no_grad()
def grown(old: Discriminator) -> Discriminator:
    """A discriminator of pictures twice as wide and high that, to start with, says what the given one says of them.

    Progressive growing without a fade: the block in front begins as the old ``from_rgb`` and an average of 2 x 2 pixels
    (the same for pictures that were enlarged by repeating pixels, colours in -1..1), and learns to see more.

    Raises:
        ValueError: the new block would have fewer than three channels, or as many as the one behind it.
    """
    new = Discriminator(replace(old.config, width=2 * old.config.width, height=2 * old.config.height))
    narrow, wide = new.config.channels[:2]
    if not 3 <= narrow < wide:
        raise ValueError(f"expected 3 to {wide - 1} channels for {2 * old.config.width} pixels, found {narrow}")
    for fresh, learned in zip(new.blocks[1:], old.blocks, strict=True):
        fresh.load_state_dict(learned.state_dict())
    new.output.load_state_dict(old.output.state_dict())

    # Colour + 1 is never negative, so that from_rgb's leaky ReLU lets it pass.
    colour_weight, colour_bias = weight_and_bias(new.from_rgb)
    colour_weight[:3] = torch.eye(3)[..., None, None]
    colour_bias[:3] = 1.0
    weight, bias = weight_and_bias(old.from_rgb)
    weight, centre, front = weight[:, :, 0, 0], 1, new.blocks[0]
    bias = bias - weight.sum(1)
    # The old leaky(p) is wanted and the branch makes leaky(leaky(p)). Above 0 both have slope 1, below it SLOPE and
    # SLOPE^2: the shortcut's p in the right proportion makes up for that. Blocks divide the sum by sqrt(2).
    of_branch, of_shortcut = (math.sqrt(2) * share / (1 + SLOPE) for share in (1.0, SLOPE))
    for parameter in front.parameters():
        parameter.zero_()
    assert isinstance(front, ResidualBlock)
    branch_weight, branch_bias = weight_and_bias(front.conv1)
    branch_weight[:, :3, centre, centre] = weight
    branch_bias.copy_(bias)
    front.conv2.weight[:, :wide, centre, centre] = of_branch * torch.eye(wide)
    shortcut_weight, shortcut_bias = weight_and_bias(front.shortcut)
    shortcut_weight[:, :3, 0, 0] = of_shortcut * weight
    shortcut_bias.copy_(of_shortcut * bias)
    return new
