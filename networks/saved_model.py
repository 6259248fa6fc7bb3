"""A generator with all it needs to run, as plain data for a checkpoint: config, weights, body, priors, metadata."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from networks.manifold.generator import Generator
from networks.person.body_assets import BodyArrays, body_from_dict, check_index
from networks.person.priors import LabelPriors
from networks.trigrid.portrait import TriGridPortrait
from torch_utils.checkpoint import in_single_precision, load_weights
from torch_utils.config import config_from_dict, config_to_dict
from torch_utils.misc import UserError

# Kept in single precision in a half-precision file: steps of float16 are 0.5 mm below 1 m and 1 mm above, which would
# show in the vertices and in the joints, which are averages of vertices.
_FULL_PRECISION = ("body.v_template", "body.J_regressor")
_BODY_NAMES = (*BodyArrays._fields, "head_shoulder_index")

Representation = type[Generator] | type[TriGridPortrait]
REPRESENTATIONS: tuple[Representation, ...] = (Generator, TriGridPortrait)  # our own ones


class SavedModel(NamedTuple):
    generator: Any  # of one of the classes that were asked for
    priors: LabelPriors | None
    metadata: dict[str, Any]
    # The one person that it is a model of, if it is of one: tensors by name, whose meaning the representation knows.
    person: dict[str, torch.Tensor] | None = None


def pack_model(model: SavedModel, *, half: bool = False) -> dict[str, Any]:
    """Plain data for :func:`torch_utils.checkpoint.save_checkpoint`; ``half`` stores weights and priors as float16."""

    def stored(name: str, value: torch.Tensor) -> torch.Tensor:
        shrink = half and value.is_floating_point() and name not in _FULL_PRECISION
        return value.detach().cpu().half() if shrink else value.detach().cpu().clone()

    return {
        "convention": model.generator.convention,
        "config": config_to_dict(model.generator.config),
        "state": {name: stored(name, value) for name, value in model.generator.state_dict().items()},
        "priors": None if model.priors is None else model.priors.to_dict(half=half),
        "person": None if model.person is None else {name: part.cpu() for name, part in model.person.items()},
        "metadata": model.metadata,
    }


def unpack_model(
    data: dict[str, Any], where: str, generator_classes: Sequence[Representation] = (Generator,)
) -> SavedModel:
    """The inverse of :func:`pack_model`, in float32, in eval mode.

    Args:
        data: what :func:`pack_model` gave.
        where: the file's name, for messages.
        generator_classes: to choose from by the file's convention.

    Raises:
        UserError: naming ``where`` and what is missing or misshapen.
    """
    if "state" not in data and "discriminators" in data:
        latest = Path(where).with_name("latest")
        raise UserError(f"{where}: expected a model, found the state that a training run goes on with; see {latest}")
    for key in ("config", "state"):
        if not isinstance(data.get(key), dict):
            raise UserError(
                f"{where}: expected a saved model with a mapping '{key}', found {type(data.get(key)).__name__}"
            )
    generator_class = _choose(generator_classes, data.get("convention", Generator.convention), where)
    config = config_from_dict(generator_class.config_class, data["config"], f"{where}: config")
    state = in_single_precision(data["state"])
    missing = [f"body.{name}" for name in _BODY_NAMES if f"body.{name}" not in state]
    if missing:
        found = f"{len(missing)} missing: {', '.join(missing)}"
        raise UserError(f"{where}: weights do not fit {generator_class.__name__}: {found}")
    body = body_from_dict({name: state[f"body.{name}"] for name in BodyArrays._fields}, f"{where}: body")
    index = check_index(state["body.head_shoulder_index"], len(body.v_template), f"{where}: head_shoulder_index")
    generator = generator_class(config, body, torch.from_numpy(index))
    load_weights(generator, state, where)
    priors = data.get("priors")
    priors = None if priors is None else LabelPriors.from_dict(priors, where)
    metadata = {} if data.get("metadata") is None else data["metadata"]
    if not isinstance(metadata, dict):
        raise UserError(f"{where}: metadata: expected a mapping, found {type(metadata).__name__}")
    return SavedModel(generator.eval(), priors, metadata, _checked_person(data.get("person"), where))


def _checked_person(person: Any, where: str) -> dict[str, torch.Tensor] | None:
    """A file's person, float32; UserError unless they are tensors of finite numbers by name, or there is none."""
    if person is None:
        return None
    sound = isinstance(person, dict) and all(
        torch.is_tensor(part) and part.is_floating_point() and part.isfinite().all() for part in person.values()
    )
    if not sound:
        raise UserError(f"{where}: person: expected tensors of finite numbers by name, found {type(person).__name__}")
    return in_single_precision(person)


def _choose(classes: Sequence[Representation], convention: Any, where: str) -> Any:
    """The class that computes by ``convention``."""
    for cls in classes:
        if isinstance(convention, str) and convention == cls.convention:
            return cls
    known = ", ".join(f"'{cls.convention}'" for cls in classes)
    found = f"'{convention}'" if isinstance(convention, str) else type(convention).__name__
    raise UserError(f"{where}: convention: expected {known}, found {found}")
