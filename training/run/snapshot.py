"""A picture of where training stands: some people, each under the same changes of camera, expression and pose."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from networks.cameras import FRONTAL
from networks.manifold.generator import Generator
from networks.person.controls import single_controls
from networks.person.face_model import FaceArrays
from torch_utils.misc import atomic_path
from torch_utils.pixels import image_to_uint8
from training.config import TrainConfig
from training.phases import render_views
from training.sampling import Inputs, InputSampler

SNAPSHOT_KEY = 0x5EED  # of the snapshot's draws
COLUMNS = (
    "neutral", "camera left", "camera right", "expression 1", "expression 2", "head left", "head right", "shoulders up",
)  # fmt: skip
GAP = 2  # pixels around every picture
FACE_COLUMNS = ("neutral", "expression 1", "expression 2")


def unlike_expressions(z_exp: Tensor, face: FaceArrays) -> tuple[Tensor, Tensor]:
    """Of expressions [N, 64] the one that moves the landmarks most, and the one farthest from it by its landmarks."""
    basis = torch.from_numpy(face.exp_basis[face.landmarks])  # [68, 3, 64]
    landmarks = torch.einsum("lck,nk->nlc", basis, z_exp).flatten(1)
    strongest = landmarks.norm(dim=1).argmax()
    return z_exp[strongest], z_exp[(landmarks - landmarks[strongest]).norm(dim=1).argmax()]


def snapshot_inputs(sampler: InputSampler, people: int, seed: int, face: FaceArrays) -> list[Inputs]:
    """The same people once for every column: what is not named is neutral.

    The expressions are the data set's: two of a hundred that are easy to tell apart on ``face``.
    """
    drawn = sampler.draw(people, seed, SNAPSHOT_KEY)
    expressions = unlike_expressions(sampler.draw(100, seed, SNAPSHOT_KEY + 1).z_exp, face)
    front = torch.full_like(drawn.camera, FRONTAL)
    neutral = drawn._replace(
        z_exp=torch.zeros_like(drawn.z_exp),
        joint_eulers=torch.zeros_like(drawn.joint_eulers),
        camera=front,
        face_camera=front,
    )

    controls = {f"{control.group} {control.heading}": control for control in single_controls()}

    def moved(name: str) -> Inputs:
        eulers, camera = controls[name].joint_eulers, controls[name].camera
        return neutral._replace(joint_eulers=eulers.expand_as(neutral.joint_eulers), camera=camera.expand_as(front))

    def expressing(z_exp: Tensor) -> Inputs:
        return neutral._replace(z_exp=z_exp.expand_as(neutral.z_exp))

    return [
        neutral,
        *(moved(name) for name in COLUMNS[1:3]),
        *(expressing(z_exp) for z_exp in expressions),
        *(moved(name) for name in COLUMNS[5:]),
    ]


@torch.no_grad()
def render_images(generator: Generator, config: TrainConfig, inputs: Inputs) -> dict[str, Tensor]:
    """Pictures [N, 3, H, W] of each view in -1..1, on the CPU, rendered one by one."""
    device = generator.manifolds.levels.device
    parts = [inputs.part(slice(i, i + 1)).to(device) for i in range(len(inputs.z_id))]
    views = [render_views(generator, config, part)[0] for part in parts]
    return {name: torch.cat([view[name].image.float().cpu() for view in views]) for name in views[0]}


def save_snapshot(path: Path, generator: Generator, config: TrainConfig, inputs: list[Inputs]) -> None:
    """Write the grid of :func:`snapshot_inputs`: a row a person, then the face camera's view of FACE_COLUMNS.

    ::

        neutral | camera left, right | two expressions | head left, right | shoulders up | faces of 1, 4 and 5
    """
    columns = [render_images(generator, config, part) for part in inputs]
    view = next(iter(columns[0]))
    images = [column[view] for column in columns]
    if view == "portrait" and "face" in columns[0]:
        size = images[0].shape[-1]
        for name in FACE_COLUMNS:
            face = columns[COLUMNS.index(name)]["face"]
            images.append(torch.nn.functional.interpolate(face, (size, size), mode="bilinear"))
    save_grid(path, torch.stack(images, 1).flatten(0, 1), len(images))


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write images [N, 3, H, W] in -1..1 as one PNG, row by row."""
    grid = make_grid(images, nrow=columns, padding=GAP, pad_value=1.0)
    with atomic_path(path) as temporary:
        Image.fromarray(image_to_uint8(grid)).save(temporary)
