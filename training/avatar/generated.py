"""A generated person as the actor: the generator is the rig of cameras, with exact poses and masks. No files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from networks.cameras import PORTRAIT_CAMERA, pinhole
from networks.gaussian.avatar import Pose, View, head_and_shoulder_pose
from networks.gaussian.maps import Fovea, Template, Window
from networks.manifold.generator import Generator
from networks.manifold.one_person import person_of
from networks.person.expressions import ARKIT, columns_of, face_model_of, has_actions
from networks.person.priors import LabelPriors, Latents
from networks.person.tracking import UNIT
from networks.saved_model import unpack_model
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError
from training.avatar.config import DistillationConfig
from training.avatar.open_person import is_open, open_template
from training.avatar.views import Actor, Shot
from training.models import most_of_expressions
from training.sampling import random_generator

TRAIN, HELD_OUT, EXPRESSIONS = 0, 1, 2  # draws that have nothing in common
FACE = (0.0, -0.015)  # its middle, canonical x and y
CLOSING = 0.3  # the least that lids come down where they do
_RIDGE = 1e-3  # of the mean square of a coefficient: expressions that are hardly drawn move nothing


def portrait_window(config: DistillationConfig, map_size: int) -> Window:
    """What maps of head and shoulders span."""
    fovea = Fovea(FACE, config.fovea) if config.fovea > 0 else None
    return Window(PORTRAIT_CAMERA.offset[:2], config.window, map_size, fovea)


class GeneratedViews:
    """Pictures of one person of a checkpoint; see ``training.avatar.views.Views``.

    Poses, expressions and cameras are drawn from the checkpoint's priors. What was rendered is kept.

    Args:
        path: of the checkpoint, also of one person's (``inference.invert``). person: the seed that
            ``gen_video.py --seeds`` knows the person by.
        seed: of what is drawn.

    Raises:
        UserError: no model, one without priors, or another person than the one that a model is of.
    """

    def __init__(self, path: str | Path, person: int, config: DistillationConfig, seed: int, device: torch.device):
        model = unpack_model(load_checkpoint(path), str(path))
        if model.priors is None:
            raise UserError(f"{path}: expected a checkpoint with priors to draw poses from, found none in it")
        self.config, self.seed, self.frames, self.device = config, seed, config.frames, device
        self.summary = f"person {person} of {Path(path).name}"
        self.summary += "" if model.person is not None else f", psi {config.psi:g}"
        self.metadata: dict[str, Any] = {"source": self.summary, "face_model": face_model_of(model.metadata)}
        self.metadata["image_size"] = model.generator.config.image_size
        self.generator: Generator = model.generator.to(device).eval().requires_grad_(False)
        self.priors: LabelPriors = model.priors
        with torch.no_grad():
            if model.person is None:
                latents = self.priors.sample_latents(1, torch.Generator().manual_seed(person))
                self.latents = Latents(*(part.to(device) for part in latents))
                style = self.generator.style(self.latents.z_id, self.latents.z_noise, psi=config.psi)
            elif person == 0:
                self.latents, style = person_of({name: part.to(device) for name, part in model.person.items()})
            else:
                raise UserError(f"--seed {person}: expected 0, for {path} is a model of one person")
            self.manifolds = self.generator.build_manifolds(style)
            self.joints = self.generator.body.canonical_joints(self.latents.betas)[0]
        self.named = has_actions(self.metadata["face_model"])
        self._kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def actor(self, map_size: int) -> Actor:
        """The person's body with a neutral face, and how expressions move it.

        Of the open body and face it is known, vertex by vertex; of others it is fitted to the person's D^e.
        """
        window, body, config = portrait_window(self.config, map_size), self.generator.body, self.generator.config
        if config.expression and self.metadata["face_model"] == ARKIT and is_open(body):
            most = most_of_expressions().to(self.device) if config.opens else None
            template = open_template(body, self.latents.betas, self.latents.z_id, most)
            self.metadata["person"] = {name: getattr(self.latents, name)[0].tolist() for name in ("z_id", "betas")}
            return Actor(template, window, self.joints, body.parents, UNIT)
        vertices = body.canonical_vertices(self.latents.betas)[0]
        middle = vertices.new_tensor(window.centre)
        near = ((vertices[:, :2] - middle).abs() < 1.1 * window.half_extent).all(-1)
        neutral, basis = self._expressions(vertices[near])
        whole = vertices.new_zeros(len(vertices), 3, basis.shape[2])
        whole[near], vertices[near] = basis, neutral
        template = Template(vertices, body.faces, body.lbs_weights, whole)
        return Actor(template, window, self.joints, body.parents, UNIT)

    def _expressions(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical points [V, 3] without an expression, and their displacement by coefficients [V, 3, 64], fitted."""
        draws = self.config.expression_draws
        random = random_generator(self.seed, EXPRESSIONS)
        rows = self.priors.sample_expressions(draws, random, self.config.jitter).to(points)
        rows = torch.cat([torch.zeros_like(rows[:1]), rows])
        z_id = self.latents.z_id
        # D^e leads to canonical space: a point that it moves by d is seen d the other way.
        moved = torch.stack([-self._displacement(points, z_id, row[None]) for row in rows]).flatten(1)  # [M, V * 3]
        rows, targets = rows[1:], moved[1:] - moved[0]
        square = rows.T @ rows
        square.diagonal().add_(_RIDGE * square.diagonal().mean() + 1e-12)
        basis = torch.linalg.solve(square, rows.T @ targets)  # [64, V * 3]
        return points + moved[0].reshape(-1, 3), basis.T.unflatten(0, (-1, 3))

    def _displacement(self, points: Tensor, z_id: Tensor, z_exp: Tensor) -> Tensor:
        style = self.generator.expression_deformation.style(z_id, z_exp)
        return self.generator.expression_displacement(points[None], style)[0]

    def _labels(self, kind: int, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """expression [64], joint_eulers [6, 3], camera [2]."""
        random = random_generator(self.seed, kind, index)
        eulers, camera = self.priors.sample_pose_camera(1, random, self.config.jitter)
        face = self.priors.sample_expressions(1, random, self.config.jitter)
        if kind == TRAIN and self.named and torch.rand(1, generator=random) < self.config.closing:
            face[0, list(columns_of("eyeBlink"))] = CLOSING + (1 - CLOSING) * torch.rand(1, generator=random)
        return face[0].to(self.device), eulers[0].to(self.device), camera[0].to(self.device)

    def _pose(self, face: Tensor, eulers: Tensor) -> Pose:
        return head_and_shoulder_pose(self.joints, self.generator.body.parents, face, eulers)

    def look(self, index: int) -> tuple[Pose, View]:
        face, eulers, camera = self._labels(TRAIN, index)
        return self._pose(face, eulers), self._view(camera)

    def _view(self, camera: Tensor) -> View:
        size = self.generator.config.image_size
        return View(*pinhole(camera, PORTRAIT_CAMERA, size), (size, size))

    @torch.no_grad()
    def _shot(self, kind: int, index: int) -> Shot:
        face, eulers, camera = self._labels(kind, index)
        if (kind, index) not in self._kept:
            self._kept[kind, index] = self._render(face[None], eulers[None], camera[None])
        colour, alpha = (part.float() for part in self._kept[kind, index])
        return Shot(colour, alpha, self._pose(face, eulers), self._view(camera))

    def _render(self, face: Tensor, eulers: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """Colour [H, W, 3] times alpha, and alpha [H, W], in half precision: the generator's exact frame."""
        who = self.latents
        frame = self.generator.render(self.manifolds, who.z_id, face, who.betas, eulers, camera)
        alpha = frame.alpha[0].clamp(0, 1)
        colour = (frame.image[0].permute(1, 2, 0) + 1) / 2 - (1 - alpha)[..., None]  # from over white
        return colour.clamp(0, 1).half(), alpha.half()

    def shot(self, index: int) -> Shot:
        return self._shot(TRAIN, index)

    def held_out(self, index: int) -> Shot:
        return self._shot(HELD_OUT, index)

    def poses(self, count: int) -> list[Pose]:
        return [self._pose(*self._labels(TRAIN, i)[:2]) for i in range(min(count, self.frames))]
