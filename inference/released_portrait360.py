"""The released models of portraits from all sides (3DPortraitGAN): their pickle, its names and its oddities.

A snapshot is a pickle of whole modules, most of them with their source code inside. It is read without running any of
it: modules become what their tables of parameters and buffers hold. Names are those of this project, but for constant
filters, which are not kept here, and the body, whose arrays lie under the renderer.

1. The near end of rays is 2.25 in training and 2.35 in every published command; here it is the latter.
2. SMPL's own parameters there (betas, body_pose ...) are leftovers of the training batch.
3. ``thickness`` 0.25 is in the constructor's arguments alone; the class's own default is another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from networks.person.body_assets import BodyArrays, body_from_dict, head_shoulder_vertices
from networks.saved_model import SavedModel
from networks.trigrid.config import TriGridConfig
from networks.trigrid.discriminator import PoseAwareDiscriminator
from networks.trigrid.portrait import TriGridPortrait
from networks.trigrid.pose_reader import PoseReader, pack_pose_reader
from torch_utils.checkpoint import load_weights
from torch_utils.misc import UserError
from torch_utils.safe_pickle import Inert, load_inert

GENERATOR, DISCRIMINATOR = "G_ema", "D_ema"
NEAR = 2.35  # metres, of every published command
_LEFTOVERS = ("renderer.", "dataset_label_std")
_SMPL = "renderer.aligned_SMPL.model."
_BODY = {
    "v_template": "v_template", "shapedirs": "shapedirs", "posedirs": "posedirs", "J_regressor": "J_regressor",
    "lbs_weights": "lbs_weights", "parents": "parents", "faces": "faces_tensor",
}  # fmt: skip
_LEFT_OUT = re.compile(r"(^|\.)resample_filter$")
_HEAD = 4096  # bytes
_ENLARGES_TWICE = "8X"  # in the name of the super-resolution of 512^2; those of 256^2 and 128^2 keep the size once


class Released(NamedTuple):
    """A released snapshot."""

    model: SavedModel
    pose_reader: dict[str, Any] | None  # E_D, packed (networks/trigrid/pose_reader.py); None where the file has none


def is_snapshot(path: str | Path) -> bool:
    """Whether a file begins as StyleGAN's snapshots do: a pickle that soon names their options or persistence."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(_HEAD)
    except OSError:
        return False
    return start[:1] == b"\x80" and any(name in start for name in (b"training_set_kwargs", b"torch_utils.persistence"))


def load_portrait360(path: str | Path) -> Released:
    """The generator of a released snapshot, and what its discriminator has learned of poses.

    Raises:
        UserError: no such file, no snapshot of theirs, or missing or misshapen weights, by name.
    """
    data = load_inert(path)
    if not isinstance(data, Mapping) or GENERATOR not in data:
        raise UserError(f"{path}: expected a snapshot with '{GENERATOR}', found {_described(data)}")
    generator = _Module.of(data[GENERATOR], f"{path}: {GENERATOR}")
    state = generator.tensors()
    body = _body(state, f"{path}: {GENERATOR}")
    config = _config(generator, state, f"{path}: {GENERATOR}")
    portrait = TriGridPortrait(config, body, torch.from_numpy(head_shoulder_vertices(body)))
    own = {name: value for name, value in portrait.state_dict().items() if not name.startswith("trigrid.")}
    weights = {f"trigrid.{name}": value for name, value in state.items() if not name.startswith(_LEFTOVERS)}
    load_weights(portrait, {**own, **weights}, f"{path}: {GENERATOR}")
    model = SavedModel(portrait.eval(), None, {"source": "released 3DPortraitGAN"})
    return Released(model, _pose_reader(data.get(DISCRIMINATOR), config, f"{path}: {DISCRIMINATOR}"))


class _Module(NamedTuple):
    """A pickled module, whichever way it was pickled."""

    name: str  # of its class
    state: dict[str, Any]  # its attributes

    @classmethod
    def of(cls, value: Any, where: str) -> _Module:
        """Raises UserError: it is none."""
        if isinstance(value, Inert):
            meta = value.args[0] if value.args and isinstance(value.args[0], dict) else None
            if value.made_by.endswith("_reconstruct_persistent_obj") and meta is not None:
                return cls(str(meta.get("class_name", "")), _attributes(meta.get("state")))
            if "_parameters" in value.state:
                return cls(value.made_by.rsplit(".", 1)[-1], value.state)
        raise UserError(f"{where}: expected a pickled module, found {_described(value)}")

    def children(self) -> dict[str, Any]:
        return {name: child for name, child in self.state.get("_modules", {}).items() if child is not None}

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and buffers by name, without constant filters."""
        found = {}
        for table in ("_parameters", "_buffers"):
            for name, value in self.state.get(table, {}).items():
                if isinstance(value, np.ndarray) and not _LEFT_OUT.search(name):
                    found[prefix + name] = torch.from_numpy(value.copy())
        for name, child in self.children().items():
            found |= _Module.of(child, f"{prefix}{name}").tensors(f"{prefix}{name}.")
        return found


def _attributes(state: Any) -> dict[str, Any]:
    return dict(state) if isinstance(state, Mapping) else {}


def _described(value: Any) -> str:
    if isinstance(value, Inert):
        return value.made_by or "an object"
    if isinstance(value, Mapping):
        return "a mapping of " + (", ".join(map(str, list(value)[:5])) or "nothing")
    return type(value).__name__


def _body(state: Mapping[str, Tensor], where: str) -> BodyArrays:
    """SMPL's arrays under the renderer (oddity 2)."""
    names = {ours: f"{_SMPL}{theirs}" for ours, theirs in _BODY.items()}
    return body_from_dict({ours: state[name].numpy() for ours, name in names.items() if name in state}, where)


def _config(generator: _Module, state: Mapping[str, Tensor], where: str) -> TriGridConfig:
    """Sizes, by the weights' shapes and by what the generator says of itself."""

    def shape(name: str) -> list[int]:
        if name not in state:
            raise UserError(f"{where}: expected weights of a 3DPortraitGAN, found none of the name {name}")
        return list(state[name].shape)

    arguments = _attributes(generator.state.get("_init_kwargs"))
    rendering = _attributes(generator.state.get("rendering_kwargs") or arguments.get("rendering_kwargs"))
    planes, behind = (_sizes(state, f"{part}.") for part in ("backbone.synthesis", "bcg_synthesis"))
    if not planes or not behind:
        raise UserError(f"{where}: expected weights of a 3DPortraitGAN, found no backbone or no background")
    style_dim = shape("backbone.mapping.embed.weight")[0]
    features = shape("decoder.net.0.weight")[1]
    stacked = shape(f"backbone.synthesis.b{max(planes)}.torgb.weight")[0]
    image_size = int(generator.state.get("img_resolution", shape("superresolution.block1.conv1.noise_const")[0]))
    enlarger = _Module.of(generator.children().get("superresolution"), f"{where}: superresolution").name
    values: dict[str, Any] = {
        "image_size": image_size,
        "raw_size": int(generator.state.get("neural_rendering_resolution", 64)),
        "latent_dim": shape("backbone.mapping.fc0.weight")[1] - style_dim,
        "style_dim": style_dim,
        "plane_size": max(planes),
        "plane_features": features,
        "plane_depth": stacked // (3 * features),
        "channel_base": planes[max(planes)] * max(planes),
        "max_channels": planes[min(planes)],
        "colour_features": shape("decoder.net.2.weight")[0] - 1,
        "superresolution_input": image_size // (4 if _ENLARGES_TWICE in enlarger else 2),
        "superresolution_channels": tuple(shape(f"superresolution.block{k}.conv1.weight")[0] for k in (0, 1)),
        "background_size": max(behind),
        "samples": int(rendering.get("depth_resolution", 48)),
        "importance_samples": int(rendering.get("depth_resolution_importance", 48)),
        "box": float(rendering.get("box_warp", 1.0)),
        "near": max(NEAR, float(rendering.get("ray_start", NEAR))),
        "far": float(rendering.get("ray_end", 3.3)),
        "thickness": float(arguments.get("thickness", 0.25)),
    }
    try:
        return TriGridConfig(**values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def _sizes(state: Mapping[str, Tensor], prefix: str) -> dict[int, int]:
    """Channels of a synthesis network by the pixels a side."""
    found = {}
    for name, value in state.items():
        if match := re.fullmatch(re.escape(prefix) + r"b(\d+)\.conv1\.weight", name):
            found[int(match[1])] = value.shape[0]
    return found


def _pose_reader(pickled: Any, config: TriGridConfig, where: str) -> dict[str, Any] | None:
    if pickled is None:
        return None
    state = _Module.of(pickled, where).tensors()
    widths = {int(match[1]): value.shape[0] for name, value in state.items()
              if (match := re.fullmatch(r"b(\d+)\.conv0\.weight", name))}  # fmt: skip
    layers = sorted(name for name in state if re.fullmatch(r"pose_branch\.net\.\d+\.weight", name))
    if not widths or "b4.conv.weight" not in state or not layers:
        raise UserError(f"{where}: expected weights of a discriminator with a pose branch, found others")
    settings: dict[str, Any] = {
        "image_size": config.image_size,
        "channel_base": widths[max(widths)] * max(widths),
        "max_channels": state["b4.conv.weight"].shape[0],
        "pose_widths": tuple(state[name].shape[0] for name in layers[:-1]),
        "group": 4,
        "fold_mirror": False,
    }
    net = PoseAwareDiscriminator(**settings)
    load_weights(net, state, where)
    return pack_pose_reader(PoseReader(net, config.raw_size, config.rest_pose), settings, config.rest_pose)
