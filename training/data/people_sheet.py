"""`python -m training.data people`: a sheet of drawn people from all sides, each with an expression and turned about.

People are those of a synthetic set with the same ``--seed``: row i is the person of its i-th portrait.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from tqdm import trange

from networks.cameras import FRONTAL
from networks.person.body_model import HEAD
from networks.person.expressions import expression
from torch_utils.bounds import MAX_SEED, whole_number
from torch_utils.misc import UserError, atomic_path
from torch_utils.picture_grid import labelled_grid
from training.data.synthetic import SyntheticPerson, draw, sample_identity

# Degrees that the camera goes round the person, to their left, and up.
SIDES = {"front": (0, 0), "45": (-45, 0), "90": (-90, 0), "135": (-135, 0), "back": (180, 0), "above": (-30, 28)}
FACES = {
    "rest": {},
    "smile": {"mouthSmile": 0.9, "cheekSquint": 0.5, "eyeSquint": 0.3, "mouthUpperUp": 0.35, "jawOpen": 0.14},
    "open": {"jawOpen": 0.5, "browInnerUp": 0.6},
    "blink": {"eyeBlink": 1.0},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line; see the module's docstring."""
    parser.add_argument("--out", type=Path, required=True, help="file to write, .png")
    parser.add_argument("--num", type=whole_number(1, 64), default=6, help="people (default: %(default)s)")
    parser.add_argument("--size", type=whole_number(32, 512), default=160, help="pixels a side (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number(0, MAX_SEED), default=0, help="of the set (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Draws the sheet. Raises UserError where it cannot be written."""
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out: expected a name that ends in .png, found '{args.out}'")
    with atomic_path(args.out) as temporary:
        rows = [draw_row(args.seed, i, args.size) for i in trange(args.num, desc="people", unit="person")]
        columns = [("all round", side) for side in SIDES] + [("faces", face) for face in FACES]
        labelled_grid(rows, columns, [str(i) for i in range(args.num)]).save(temporary, "png")
    print(f"wrote {args.out}")


def draw_row(seed: int, index: int, size: int) -> list[torch.Tensor]:
    """Pictures [3, size, size] in -1..1 of one person: portraits from SIDES, then the face with FACES."""
    identity = sample_identity(np.random.default_rng([seed, index]))
    person, still = SyntheticPerson(identity.z_id, identity.eps, identity.betas), np.zeros((6, 3))
    posed, head = person.posed(np.zeros(64), still), person.joint_transforms(still)[HEAD]
    cameras = [(FRONTAL - math.radians(up), FRONTAL + math.radians(round_)) for round_, up in SIDES.values()]
    pictures = [draw(posed, camera, size) for camera in cameras]
    for actions in FACES.values():
        pictures.append(draw(person.posed(expression(**actions), still), (FRONTAL, FRONTAL), size, "face", head))
    return [torch.from_numpy(picture.image) for picture in pictures]
