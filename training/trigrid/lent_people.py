"""People of another generator, whom a :class:`networks.trigrid.pose_regressor.PoseRegressor` learns to read.

A small game's own people lack what tells of poses: eyes. A generator that has them, of stage 0 for one, lends its
people, whom it knows at rest; they are turned as the game's are, before the data's cameras. No label of a pose is used.
Every look is in disguise, for portraits have other colours, collars and lenses.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from networks.person.face_model import NUM_EXPRESSION
from networks.saved_model import unpack_model
from networks.trigrid.camera_labels import mirror_pose
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.pose_regressor import SIZE, PoseRegressor
from networks.trigrid.superresolution import resized
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import check_same
from training.recipe import set_precision
from training.regression import Regression
from training.sampling import random_generator
from training.trigrid.config import TriGridTrainConfig
from training.trigrid.phases import Clock, poses_held
from training.trigrid.sampling import TriGridSampler

BATCH = 8  # people rendered at a time
LOOKS = 64  # a step
RATE = 3e-3
FEW = {"samples": 20, "importance_samples": 12}  # a ray: pictures are small
RAYS = 48  # a side of pictures of SIZE pixels
SHOULDERS = 0.1  # radians, of collars and shoulders, where the lender has them
EXPRESSIONS = 0.7  # standard deviation, where the lender has them
LENDING_KEY = 0xEE  # of draws


class Looks(NamedTuple):
    """Pictures of people, and the poses that they hold."""

    image: Tensor  # [N, 3, SIZE, SIZE] in about -1..1, in half precision
    mask: Tensor  # [N, 1, R, R] in 0..1, as coarse as E_D sees it, in half precision
    camera: Tensor  # [N, 25]
    pose: Tensor  # [N, 6]

    def part(self, rows: Tensor) -> Looks:
        """Some of them."""
        return Looks(*(part[rows].float() for part in self))


def read_lender(path: Path, config: TriGridTrainConfig) -> TriGridPortrait:
    """A generator whose people can stand for those of a run with ``config``, with few samples a ray.

    Raises:
        UserError: it has another rest pose or other cameras.
    """
    data = load_checkpoint(path)
    if isinstance(data.get("config"), dict):
        data |= {"config": data["config"] | FEW}
    lender = unpack_model(data, str(path), (TriGridPortrait,)).generator
    check_same(("rest_pose", "orbit"), lender.config, config.generator, str(path))
    return lender


@torch.no_grad()
def look_at(
    lender: TriGridPortrait, portrait: TriGridPortrait, config: TriGridTrainConfig, sampler: TriGridSampler, count: int,
    seed: int,
) -> Looks:  # fmt: skip
    """``count`` people (rounded up to whole batches) of ``lender``, in poses drawn about those that E_G of ``portrait``
    chooses at the end of its game."""
    clock = Clock.at(config, round(1000 * config.run.total_kimg))
    device = portrait.body.v_template.device
    looks = []
    for k in tqdm(range(-(-count // BATCH)), unit=f"{BATCH} people", leave=False):
        inputs = sampler.draw(BATCH, seed, LENDING_KEY, k).to(device)
        random = random_generator(seed, LENDING_KEY, k, 1)
        z, expression, shoulders = (
            torch.randn(BATCH, *shape, generator=random).to(device)
            for shape in ((lender.config.latent_dim,), (NUM_EXPRESSION,), (6, 3))
        )
        pose, camera = poses_held(portrait.trigrid, inputs, clock)[1][:, 0], inputs.camera[:, 0]
        rotations = lender.space.with_shoulders(lender.body, lender.space.rotations(pose), SHOULDERS * shoulders)
        made = lender.pictures(lender.person(z), rotations, camera, raw_size=RAYS, expression=EXPRESSIONS * expression)
        image, mask = resized(made.image, SIZE).half(), resized(made.mask, clock.raw_size).half()
        looks.append(Looks(image, mask, camera, pose))
    return Looks(*(torch.cat(part) for part in zip(*looks, strict=True)))


def learn_to_read(looks: Looks, steps: int, seed: int) -> tuple[PoseRegressor, list[float]]:
    """A regressor that has learned from looks, in eval mode, and its losses: squared errors of poses in deviations."""
    device = looks.pose.device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=set_precision("auto", device))
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        regressor = PoseRegressor().to(device).to(memory_format=torch.channels_last)
        both = torch.cat([looks.pose, mirror_pose(looks.pose)])
        regressor.scale.copy_(both.std(0, correction=0).clamp_min(1e-3))
        regression = Regression([(RATE, [regressor.parameters()])], steps)
        for _ in tqdm(range(steps), unit="step", leave=False):
            part = looks.part(torch.randint(len(looks.pose), (LOOKS,), device=device))
            with autocast:
                found = regressor(*disguised(part.image, part.mask), part.camera)
            losses.append(regression.step(((found - part.pose) / regressor.scale).square().mean()))
    return regressor.eval().requires_grad_(False), losses


# ---- Disguises: what may differ between people of whom one learns and those to be read -------------------------------


def disguised(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, H, H] and masks [B, 1, R, R] that are shifted, enlarged, lit, dressed, blurred or sharpened,
    soiled and partly hidden at random."""
    image, mask = moved(image, mask)
    return hidden(soiled(dressed(lit(image)))).clamp(-1.3, 1.3), mask


def moved(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Shifted by 4 % of half a side and enlarged by 4 % (standard deviations), alike."""
    theta = torch.zeros(len(image), 2, 3, device=image.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + 0.04 * torch.randn(len(image), device=image.device)
    theta[:, :, 2] = 0.04 * torch.randn(len(image), 2, device=image.device)
    image, mask = (
        F.grid_sample(
            part, F.affine_grid(theta, list(part.shape), align_corners=False), padding_mode="border",
            align_corners=False,
        )
        for part in (image, mask)
    )  # fmt: skip
    return image, mask


def lit(image: Tensor) -> Tensor:
    """Other exposure and white balance; three times of four light and colour vary over the picture; one is grey."""
    b, size = len(image), image.shape[-1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(b, *shape, device=image.device)

    def field(cells: int) -> Tensor:
        return F.interpolate(normal(3, cells, cells), (size, size), mode="bilinear", align_corners=True)

    image = image * (1 + 0.25 * normal(1, 1, 1) + 0.15 * normal(3, 1, 1))
    image = image + 0.2 * normal(1, 1, 1) + 0.15 * normal(3, 1, 1)
    vary, grey = (
        torch.rand(2, b, 1, 1, 1, device=image.device) < image.new_tensor([0.75, 0.25]).view(2, 1, 1, 1, 1)
    ).float()
    image = image * (1 + 0.3 * vary * field(3)) + vary * (0.25 * field(3) + 0.12 * field(6))
    return torch.lerp(image, image.mean(1, keepdim=True).expand_as(image), grey)


def dressed(image: Tensor) -> Tensor:
    """Below the chin, somewhere: two times of three in other colours, for people of stage 0 wear grey."""
    b, size = len(image), image.shape[-1]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(b, *shape, device=image.device)

    collar = (0.62 + 0.22 * uniform(1, 1, 1)) * size
    rows = torch.arange(size, device=image.device)[:, None]
    below = torch.sigmoid(rows - collar) * (uniform(1, 1, 1) < 0.67)
    cloth = (image + 1) * 1.6 * uniform(3, 1, 1) + 0.9 * uniform(3, 1, 1) * uniform(1, 1, 1) - 1
    return torch.lerp(image, cloth, below.expand_as(image))


def soiled(image: Tensor) -> Tensor:
    """Every other one blurred or sharpened, all with noise."""
    b, size = len(image), image.shape[-1]
    blurred = F.interpolate(F.avg_pool2d(image, 2), (size, size), mode="bilinear", align_corners=False)
    share = (2 * torch.rand(b, 1, 1, 1, device=image.device) - 0.7) * (
        torch.rand(b, 1, 1, 1, device=image.device) < 0.5
    )
    strength = 0.12 * torch.rand(b, 1, 1, 1, device=image.device)
    return torch.lerp(image, blurred, share.expand_as(image)) + strength * torch.randn_like(image)


def hidden(image: Tensor) -> Tensor:
    """Every third one without a box of a tenth to a third of the sides, of a plain colour."""
    b, size = len(image), image.shape[-1]
    at = torch.arange(size, device=image.device)
    inside = torch.rand(b, 1, 1, device=image.device) < 1 / 3
    for axis in (-1, -2):
        length = (0.1 + 0.25 * torch.rand(b, 1, device=image.device)) * size
        start = torch.rand(b, 1, device=image.device) * (size - length)
        within = (at >= start) & (at < start + length)
        inside = inside & within.unsqueeze(axis)
    return torch.where(inside[:, None], 0.5 * torch.randn(b, 3, 1, 1, device=image.device), image)
