"""`python -m training.trigrid.poses RUN... --data DATA`: how well poses that nobody labelled were learned.

E_D of every run (RUN/latest_pose_reader) looks at the data's portraits, and what it says of the head (neck and head
together, for nothing tells them apart) is compared with the labels: Pearson's r of yaw, pitch and roll, over all views
and over those from in front and from behind, and the error that is left when the best constant turn is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import roma
import torch
from torch import Tensor
from tqdm import tqdm

from networks.saved_model import unpack_model
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.pose_reader import PoseReader, unpack_pose_reader
from torch_utils.bounds import whole_number
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import CliParser, UserError, resolve_device, run_cli
from training.data.png import decode_png
from training.data.storage import Dataset, open_dataset
from training.run.state import LATEST
from training.trigrid.recipe import pictures
from training.trigrid.sampling import cameras, labelled_poses
from training.trigrid.state import POSE_READER

ANGLES = ("roll", "yaw", "pitch")  # about z, y, x
BATCH = 32
MAX_IMAGES = 10**6


class Agreement(NamedTuple):
    """Of poses that were found with the true ones."""

    portraits: int
    correlation: dict[str, float]  # Pearson's r, by angle; nan where nothing varies
    error: float  # degrees, mean angle between them after the best constant turn


def head_rotation(pose: Tensor) -> Tensor:
    """Where the head is turned to by poses [N, 6] of neck and head: [N, 3, 3]."""
    neck, head = roma.rotvec_to_rotmat(pose.double().unflatten(-1, (2, 3))).unbind(1)
    return neck @ head


def angles(rotation: Tensor) -> Tensor:
    """[N, 3, 3] -> roll, yaw, pitch [N, 3] of Rz Ry Rx, radians."""
    yaw = torch.asin((-rotation[:, 2, 0]).clamp(-1, 1))
    pitch = torch.atan2(rotation[:, 2, 1], rotation[:, 2, 2])
    return torch.stack([torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0]), yaw, pitch], -1)


def agreement(found: Tensor, true: Tensor) -> Agreement:
    """Of poses [N, 6] with true ones."""
    found, true = head_rotation(found), head_rotation(true)
    a, b = (part - part.mean(0) for part in (angles(found), angles(true)))
    spread = (a.square().sum(0) * b.square().sum(0)).sqrt()
    r = torch.where(spread > 0, (a * b).sum(0) / spread, torch.nan).tolist()
    # The turn Q with found Q nearest to true: the constant offset that nothing in the game decides.
    turn = roma.special_procrustes((found.transpose(1, 2) @ true).sum(0))
    apart = roma.rotmat_geodesic_distance(found @ turn, true)
    return Agreement(len(true), dict(zip(ANGLES, r, strict=True)), math.degrees(apart.mean().item()))


@torch.no_grad()
def read_poses(reader: PoseReader, portrait: TriGridPortrait, dataset: Dataset, count: int) -> Tensor:
    """Poses [count, 6] of the first portraits of a data set."""
    device, size = portrait.body.v_template.device, portrait.config.image_size
    labels = {name: torch.from_numpy(array[:count]) for name, array in dataset.labels.items()}
    seen = cameras(portrait, {name: value.to(device) for name, value in labels.items()})
    parts = []
    for i in tqdm(range(0, count, BATCH), unit=f"{BATCH} portraits", leave=False):
        rows = range(i, min(i + BATCH, count))
        image = torch.stack([_picture(dataset, row) for row in rows]).permute(0, 3, 1, 2).to(device)
        mask = torch.stack([_picture(dataset, row, "L") for row in rows])[:, None].to(device)
        parts.append(reader(*pictures(image, mask, size, labels), seen[i : i + BATCH]).cpu())
    return torch.cat(parts)


def _picture(dataset: Dataset, row: int, mode: str = "RGB") -> Tensor:
    """Image [H, H, 3], or mask (mode L) [H, H], uint8."""
    data = dataset.read_image(row) if mode == "RGB" else dataset.read_mask(row)
    return torch.from_numpy(decode_png(data, dataset.image_size, f"{dataset.path}: {row}", mode).copy())


def measure(run: Path, dataset: Dataset, count: int, device: torch.device) -> dict[str, Agreement]:
    """Agreement over all portraits, and over those from in front and from behind.

    Raises:
        UserError: the run has no model or no pose reader, or the set no masks.
    """
    if not dataset.has_masks:
        raise UserError(f"{dataset.path}: expected masks, which E_D looks at, found none")
    path = run / f"{LATEST}_{POSE_READER}"
    reader = unpack_pose_reader(load_checkpoint(path), str(path)).to(device)
    portrait = unpack_model(load_checkpoint(run / LATEST), str(run / LATEST), (TriGridPortrait,)).generator.to(device)
    found = read_poses(reader, portrait, dataset, count)
    true = labelled_poses(
        portrait.cpu(), {name: torch.from_numpy(array[:count]) for name, array in dataset.labels.items()}
    )
    front = torch.from_numpy(dataset.labels["camera"][:count, 1]).sin() > 0
    parts = {"all": torch.ones_like(front), "front": front, "behind": ~front}
    return {name: agreement(found[rows], true[rows]) for name, rows in parts.items() if rows.sum() > 2}


def main(argv: Sequence[str] | None = None) -> None:
    parser = CliParser(prog="python -m training.trigrid.poses", description=__doc__.split(": ", 1)[1])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs (train.py --outdir)")
    parser.add_argument("--data", required=True, help="portraits with true labels, best such that nobody trained on")
    parser.add_argument("--num", type=whole_number(3, MAX_IMAGES), default=1000, help="portraits (default: 1000)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    args = parser.parse_args(argv)
    dataset = open_dataset(args.data)
    count = min(args.num, len(dataset))
    print(f"| run | views | portraits | {' | '.join(f'r {name}' for name in ANGLES)} | error |")
    print("|" + "---|" * (4 + len(ANGLES)))
    for run in args.runs:
        for views, found in measure(run, dataset, count, resolve_device(args.device)).items():
            r = " | ".join(f"{value:.2f}" for value in found.correlation.values())
            print(f"| {run.name} | {views} | {found.portraits} | {r} | {found.error:.1f}° |")


if __name__ == "__main__":
    run_cli(main)
