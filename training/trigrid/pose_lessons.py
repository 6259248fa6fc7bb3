"""`python -m training.trigrid.pose_lessons RUN --data DATA`: after the game, E_D learns to read poses more closely.

In the game E_D looks at every generated person once or twice, and its trunk has a score to think of. Afterwards people
are plenty, for G stands still: some thousands are rendered once, in poses drawn about E_G's, before the data's cameras;
the trunk, which has seen photographs in the game, looks at them once; and E_D's last layers are learned again from
what it says. No label of a pose is used, and no photograph. RUN/latest_pose_reader is written anew.

With --people_of another generator lends its people as well, and a network beside E_D learns from them; poses are then
the means of what both say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from networks.person.pose_predictors import PosePredictor
from networks.saved_model import unpack_model
from networks.stylegan_layers import EqualLinear
from networks.trigrid.discriminator import Observed, PoseAwareDiscriminator, Told, turned_back
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.pose_reader import pack_regressor, plain_state, unpack_pose_reader
from torch_utils.bounds import MAX_SEED, whole_number
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.config import config_from_dict
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from training.data.label_models import check_models
from training.data.mirror import label_mirror
from training.data.storage import Dataset, open_dataset
from training.losses.pose_self_learning import pose_error
from training.regression import Regression
from training.run.state import LATEST
from training.trigrid.config import FaceConfig, TriGridTrainConfig
from training.trigrid.lent_people import learn_to_read, look_at, read_lender
from training.trigrid.models import FIRST_TURNS, load_body, load_face
from training.trigrid.phases import Clock, make_people
from training.trigrid.sampling import TriGridSampler
from training.trigrid.state import POSE_READER

BATCH = 32  # people rendered at a time
LOOKS = 256  # a step
RATE = 3e-2  # weights are N(0, 1) and scaled by 1 / sqrt(in)
LEAST_DEVIATION = 1e-4
DROPOUT = 0.3  # of features and inner layers: people are few, and learned by heart soon
LESSON_KEY = 0xED  # of the draws


class Lessons(NamedTuple):
    """What E_D's trunk says of generated people, and the poses that they hold, views from the left mirrored."""

    told: Told  # features in half precision
    pose: Tensor  # [N, 6]

    def part(self, rows: Tensor) -> Lessons:
        """Some of them."""
        told = Told(*(value[rows] for value in self.told))
        return Lessons(told._replace(features=told.features.float()), self.pose[rows])


@torch.no_grad()
def make_lessons(
    portrait: TriGridPortrait, discriminator: PoseAwareDiscriminator, config: TriGridTrainConfig,
    sampler: TriGridSampler, count: int, seed: int,
) -> Lessons:  # fmt: skip
    """``count`` people (rounded up to whole batches) as the game makes them at its end, every one of them conditioned
    on a stranger's camera and pose, so that nothing but the picture tells of its own."""
    config = replace(config, face=FaceConfig())  # nobody looks at faces
    clock = Clock.at(config, round(1000 * config.run.total_kimg))._replace(swap=1.0, density_noise=0.0)
    device = portrait.body.v_template.device
    parts = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # depths and noise
        for k in tqdm(range(-(-count // BATCH)), unit=f"{BATCH} people", leave=False):
            inputs = sampler.draw(BATCH, seed, LESSON_KEY, k).to(device)
            pictures, pose, *_ = make_people(portrait, config, inputs, clock)
            seen = Observed(pictures.image.float(), pictures.raw.float(), pictures.mask)
            told = discriminator.told(seen, inputs.camera[:, 0])
            parts.append((told.features.half(), told.camera, told.left, turned_back(pose, told.left)))
    features, camera, left, poses = (torch.cat(part) for part in zip(*parts, strict=True))
    return Lessons(Told(features, camera, left), poses)


def learn(discriminator: PoseAwareDiscriminator, lessons: Lessons, steps: int, seed: int) -> list[float]:
    """Learn E_D's last layers from nothing; returns the losses |E_D - p|^2. Nothing else of the discriminator changes.

    Features are brought to mean 0 and deviation 1 on the way; at the end the first layer does that itself.
    """
    branch = discriminator.pose_branch.requires_grad_(True)
    shift, scale = standardisation(lessons.told.features)
    regression = Regression([(RATE, [branch.parameters()])], steps)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        begin_anew(branch)
        for _ in tqdm(range(steps), unit="step", leave=False):
            rows = torch.randint(len(lessons.pose), (LOOKS,), device=lessons.pose.device)
            told, pose = lessons.part(rows)
            told = told._replace(features=(told.features - shift) / scale)
            losses.append(regression.step(pose_error(discriminator.read_pose(told, DROPOUT), pose).mean()))
    branch.requires_grad_(False)
    take_in(branch, shift, scale)
    return losses


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of features [N, C]; features that never change keep their scale."""
    shift, scale = features.float().mean(0), features.float().std(0, correction=0)
    return shift, torch.where(scale > LEAST_DEVIATION, scale, 1.0)


@torch.no_grad()
def begin_anew(branch: PosePredictor) -> None:
    """Weights as a run begins with them."""
    layers = [layer for layer in branch.net if isinstance(layer, EqualLinear)]
    for layer in layers:
        layer.weight.normal_()
        layer.bias.zero_()
    layers[-1].weight.mul_(FIRST_TURNS)


@torch.no_grad()
def take_in(branch: PosePredictor, shift: Tensor, scale: Tensor) -> None:
    """From a first layer that is told (features - shift) / scale to one that is told features, of the same answers."""
    layer = branch.net[0]
    assert isinstance(layer, EqualLinear)
    weight = layer.weight[:, : len(shift)]
    weight.div_(scale)
    layer.bias.sub_(weight @ shift / math.sqrt(layer.weight.shape[1]))


def read_run(path: Path) -> tuple[TriGridPortrait, TriGridTrainConfig]:
    """The averaged generator of a run and its configuration. Raises UserError: the model was not trained here."""
    model = unpack_model(load_checkpoint(path), str(path), (TriGridPortrait,))
    if "training" not in model.metadata:
        raise UserError(f"{path}: expected the model of a training run, found no configuration beside it")
    return model.generator, config_from_dict(TriGridTrainConfig, model.metadata["training"], f"{path}: configuration")


def sampler_of(dataset: Dataset, portrait: TriGridPortrait, config: TriGridTrainConfig) -> TriGridSampler:
    """What the run's own steps are drawn by."""
    check_models(dataset.manifest, {"body": config.body_model, "face": config.face_model}, dataset.path)
    mirror = label_mirror(load_face(config), load_body(config)) if config.mirror else None
    return TriGridSampler(dataset, mirror, portrait, config)


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m training.trigrid.pose_lessons", description=__doc__.split(": ", 1)[1])
    parser.add_argument("run", type=Path, help="folder of a run (train.py --outdir)")
    parser.add_argument("--data", required=True, help="portraits that the run has learned from: their cameras")
    parser.add_argument("--people", type=whole_number(1, 10**6), default=4096, help="to render (default: 4096)")
    parser.add_argument("--steps", type=whole_number(20, 10**6), default=400, help="of 256 looks (default: 400)")
    parser.add_argument("--people_of", type=Path, help="another model, whose people a second network learns from")
    parser.add_argument("--lent", type=whole_number(1, 10**6), default=1024, help="of those, to render (default: 1024)")
    parser.add_argument("--lent_steps", type=whole_number(20, 10**6), default=600, help="of 64 looks (default: 600)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="of all draws (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    device, path = resolve_device(args.device), args.run / f"{LATEST}_{POSE_READER}"
    saved = load_checkpoint(path)
    reader = unpack_pose_reader(saved, str(path)).to(device)
    portrait, config = read_run(args.run / LATEST)
    lender = read_lender(args.people_of, config).to(device) if args.people_of else None
    sampler = sampler_of(open_dataset(args.data), portrait, config)
    lessons = make_lessons(portrait.to(device), reader.discriminator, config, sampler, args.people, args.seed)
    losses = learn(reader.discriminator, lessons, args.steps, args.seed)
    saved |= {"state": plain_state(reader.discriminator)}
    save_checkpoint(path, saved)
    first, last = (math.degrees(math.sqrt(part / 2)) for part in ends(losses))
    print(f"{path}: E_D is off by {last:.1f} degrees a joint on generated people, {first:.1f} when it began")
    if lender is not None:
        looks = look_at(lender, portrait, config, sampler, args.lent, args.seed)
        regressor, losses = learn_to_read(looks, args.lent_steps, args.seed)
        save_checkpoint(path, saved | pack_regressor(regressor))
        first, last = (math.sqrt(part) for part in ends(losses))
        print(f"{path}: the second network is off by {last:.2f} of how far they turn, {first:.2f} when it began")


def ends(losses: list[float]) -> tuple[float, float]:
    """Means of the first and the last tenth."""
    tenth = max(1, len(losses) // 10)
    return mean(losses[:tenth]), mean(losses[-tenth:])


if __name__ == "__main__":
    run_cli(main)
