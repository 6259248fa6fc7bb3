"""Two ways from inputs to pictures: a generator, and the true drawings of synthetic people, which know no error."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from networks.gaussian.portraits import CONVENTIONS, read_avatar
from networks.manifold.generator import Generator, ManifoldMaps, PersonStyle
from networks.manifold.generator_config import UPSCALE
from networks.manifold.one_person import person_of
from networks.manifold.radiance import RadianceStyle
from networks.person.body_model import HEAD, BodyModel
from networks.person.expressions import ARKIT, BASEL, EMBEDDED, face_model_of
from networks.person.priors import Latents
from networks.saved_model import REPRESENTATIONS, unpack_model
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError
from torch_utils.ops.point_network import cpu_has_bf16
from training.data.label_models import named_models
from training.data.storage import Dataset
from training.data.synthetic import SyntheticPerson, draw
from training.data.synthetic.figure import figure
from training.rendering import (
    View,
    build_maps,
    carry_to_neutral,
    pose_people,
    render_maps,
    render_radiance,
    view_camera,
)
from training.sampling import Inputs, InputSampler

VIEWS = {"full": "portrait", "face": "face"}  # the paper's names of regions -> cameras
BLOCK = 256  # inputs that are drawn at once
METRIC_KEY = 0x31C5  # of the draws


class Rendered(NamedTuple):
    image: Tensor  # [B, 3, H, W] in -1..1, white background
    alpha: Tensor  # [B, H, W]
    depth: Tensor  # [B, H, W] along the ray, canonical units


class Renderer(Protocol):
    """Pictures of inputs by camera, ``portrait`` or ``face``."""

    name: str
    face_model: str | None  # whose expressions it takes, if that is known
    size: dict[str, int]  # pixels a side, by camera
    body: BodyModel  # on the CPU: where heads are asked to be
    only: Latents | None  # the one person that it draws, [1, .] each, whoever is asked for; None: anybody

    def __call__(self, inputs: Inputs, views: tuple[str, ...]) -> dict[str, Rendered]: ...


class GeneratorRenderer:
    """A saved model as it was trained: stage 1 by evaluating phi at crossings, otherwise from flattened manifolds,
    as videos are drawn where lids and lips close (``canonical_face: open``).

    Args:
        generator: on its device.
        stage: 1 or 2.
        name: for messages.
        face_model: whose expressions it takes, if that is known.
        person: of a file that is a model of one person.
    """

    def __init__(
        self, generator: Generator, stage: int, name: str, face_model: str | None = None,
        person: dict[str, Tensor] | None = None,
    ):  # fmt: skip
        self.generator, self.stage, self.name, self.face_model = generator, stage, name, face_model
        self.only: Latents | None = None
        self._style: PersonStyle | None = None  # of the one person
        if person is not None:
            self.only, self._style = person_of(person)
        low = generator.config.lowres_size
        portrait, face = (UPSCALE, UPSCALE // 2) if stage == 2 else (1, 1)
        self.size = {"portrait": portrait * low, "face": face * low}
        self.body = copy.deepcopy(generator.body).cpu()
        self._people: tuple[Tensor, ManifoldMaps] | None = None  # latents, and what was built for them

    @torch.no_grad()
    def __call__(self, inputs: Inputs, views: tuple[str, ...]) -> dict[str, Rendered]:
        inputs = inputs.to(self.generator.manifolds.levels.device)
        if self.stage == 1:
            style = self._style_of(inputs)
            found = {view: _rendered(render_radiance(self.generator, style.radiance, inputs, view)) for view in views}
        else:
            maps = self._maps(inputs)
            found = {view: self._frame(maps, inputs, view) for view in views}
        return {name: Rendered(*(part.float().cpu() for part in drawn)) for name, drawn in found.items()}

    def _frame(self, maps: ManifoldMaps, inputs: Inputs, view: str) -> Rendered:
        """As videos show people: what has met is drawn pixel by pixel (:mod:`networks.manifold.openings`), which
        :func:`render_maps`, that networks learn from, leaves out."""
        if not self.generator.config.opens:
            return _rendered(render_maps(self.generator, maps, inputs, view))
        body = pose_people(self.generator, inputs)
        camera = view_camera(self.generator, inputs, view, body)
        neutral, _, _ = carry_to_neutral(self.generator, body, camera, self.generator.config.lowres_size)
        frame = self.generator.frame(maps, neutral, inputs.z_id, inputs.z_exp, camera.angles, camera.model)
        channels = torch.cat([frame.image, frame.alpha[:, None], frame.depth[:, None]], 1)
        if self.size[view] != channels.shape[-1]:
            channels = F.interpolate(channels, size=self.size[view], mode="bilinear", align_corners=True)
        return Rendered(channels[:, :3], channels[:, 3], channels[:, 4])

    def _style_of(self, inputs: Inputs) -> PersonStyle:
        if self._style is None:
            return self.generator.style(inputs.z_id, inputs.z_noise, psi=1.0)
        frequency, phase, high = (
            part.to(inputs.z_id).expand(len(inputs.z_id), -1) for part in (*self._style.radiance, *self._style[1:])
        )
        return PersonStyle(RadianceStyle(frequency, phase), high)

    def _maps(self, inputs: Inputs) -> ManifoldMaps:
        """Of the people, who are often those of the call before."""
        who = torch.cat([inputs.z_id, inputs.z_noise], 1)
        if self._people is None or not torch.equal(self._people[0], who):
            style = self._style_of(inputs)
            # As people are built in videos: bfloat16 products on CPUs that have them.
            with torch.autocast(who.device.type, torch.bfloat16, enabled=who.device.type == "cpu" and cpu_has_bf16()):
                self._people = who, build_maps(self.generator, style)
        return self._people[1]


def _rendered(view: View) -> Rendered:
    return Rendered(view.image, view.alpha, view.depth)


def load_renderer(path: str | Path, device: torch.device) -> Renderer:
    """The model that a training run saved, or any other in our format. Raises UserError as loading does."""
    data = load_checkpoint(path)
    if data.get("convention") in CONVENTIONS:
        from training.metrics.avatar import AvatarRenderer  # which builds on this module

        avatar, metadata = read_avatar(data, str(path))
        return AvatarRenderer(avatar.to(device), metadata, str(path))
    model = unpack_model(data, str(path), REPRESENTATIONS)
    if isinstance(model.generator, TriGridPortrait):
        from training.metrics.trigrid import TriGridRenderer  # which builds on this module

        return TriGridRenderer(model.generator.to(device).eval(), model.priors, str(path))
    training = model.metadata.get("training")
    stage = training.get("stage", 2) if isinstance(training, dict) else 2
    generator, face_model = model.generator.to(device).eval(), face_model_of(model.metadata)
    return GeneratorRenderer(generator, stage, str(path), face_model, model.person)


def face_model_of_labels(dataset: Dataset) -> str | None:
    """The face model of a set's expressions by the name that checkpoints give it; None where the set does not say."""
    named = named_models(dataset.manifest).get("face")
    if named in (None, EMBEDDED):
        return named
    return BASEL if " " in named else ARKIT  # a file's name has its checksum behind it


class DrawingRenderer:
    """True drawings of synthetic people, whose appearance is z_noise: the ceiling of what a generator can reach."""

    face_model: str | None = ARKIT
    only: Latents | None = None

    def __init__(self, size: dict[str, int]):
        self.size, self.name, self.body = size, "true drawing", copy.deepcopy(figure().body_model).float()

    def __call__(self, inputs: Inputs, views: tuple[str, ...]) -> dict[str, Rendered]:
        pictures: dict[str, list] = {view: [] for view in views}
        for i in range(len(inputs.z_id)):
            row = {name: value[i].double().numpy() for name, value in inputs._asdict().items()}
            person = SyntheticPerson(row["z_id"], row["z_noise"], row["betas"])
            posed = person.posed(row["z_exp"], row["joint_eulers"])
            head = person.joint_transforms(row["joint_eulers"])[HEAD]
            for view in views:
                camera = row["camera" if view == "portrait" else "face_camera"]
                pictures[view].append(draw(posed, camera, self.size[view], view, head)[: len(Rendered._fields)])
        return {
            view: Rendered(*(torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True)))
            for view, drawn in pictures.items()
        }


def check_finite(image: Tensor, where: str) -> None:
    """UserError that names ``where`` if a picture holds NaN or infinity."""
    if not image.isfinite().all():
        raise UserError(f"{where}: expected finite numbers, found NaN or infinity")


def draw_inputs(sampler: InputSampler, rows: range, seed: int) -> Inputs:
    """Inputs of the rows; the i-th depends on (seed, i) alone."""
    blocks = range(rows.start // BLOCK, (rows.stop - 1) // BLOCK + 1)
    drawn = [sampler.draw(BLOCK, seed, METRIC_KEY, block) for block in blocks]
    first = blocks.start * BLOCK
    joined = Inputs(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    return joined.part(slice(rows.start - first, rows.stop - first))


def is_synthetic(dataset: Dataset) -> bool:
    """Whether the people of a data set can be drawn: it was made by ``python -m training.data synthesize``."""
    return " synthesize " in dataset.manifest["made_by"]
