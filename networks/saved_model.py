"""A generator with all it needs to run, as plain data for a checkpoint: config, weights, body, priors, metadata."""

from typing import Any, NamedTuple

import torch

from networks.body_assets import BodyArrays
from networks.generator import Generator, GeneratorConfig
from networks.priors import LabelPriors
from torch_utils.checkpoint import load_weights
from torch_utils.config import config_from_dict, config_to_dict
from torch_utils.misc import UserError

# Kept in single precision in a half-precision file: joints and vertices are differences of large numbers.
_FULL_PRECISION = ("body.v_template", "body.J_regressor")


class SavedModel(NamedTuple):
    generator: Generator
    priors: LabelPriors | None
    metadata: dict[str, Any]


def pack_model(model: SavedModel, *, half: bool = False) -> dict[str, Any]:
    """Plain data for :func:`torch_utils.checkpoint.save_checkpoint`; ``half`` stores weights as float16."""

    def stored(name: str, value: torch.Tensor) -> torch.Tensor:
        shrink = half and value.is_floating_point() and name not in _FULL_PRECISION
        return value.detach().cpu().half() if shrink else value.detach().cpu().clone()

    return {
        "config": config_to_dict(model.generator.config),
        "state": {name: stored(name, value) for name, value in model.generator.state_dict().items()},
        "priors": None if model.priors is None else model.priors.to_dict(),
        "metadata": model.metadata,
    }


def unpack_model(data: dict[str, Any], where: str, generator_class: type[Generator] = Generator) -> SavedModel:
    """The inverse of :func:`pack_model`, in float32, in eval mode.

    Raises:
        UserError: naming ``where`` and what is missing or misshapen.
    """
    for key in ("config", "state"):
        if not isinstance(data.get(key), dict):
            raise UserError(
                f"{where}: expected a saved model with a mapping '{key}', found {type(data.get(key)).__name__}"
            )
    config = config_from_dict(GeneratorConfig, data["config"], f"{where}: config")
    state = {
        name: value.float() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in data["state"].items()
    }
    names = [*BodyArrays._fields, "head_shoulder_index"]
    missing = [f"body.{name}" for name in names if not torch.is_tensor(state.get(f"body.{name}"))]
    if missing:
        raise UserError(f"{where}: weights do not fit Generator: {len(missing)} missing: {', '.join(missing)}")
    *body, index = (state[f"body.{name}"] for name in names)
    generator = generator_class(config, BodyArrays(*body), index)
    load_weights(generator, state, where)
    priors = data.get("priors")
    if priors is not None:
        priors = LabelPriors.from_dict({name: torch.as_tensor(value).float() for name, value in priors.items()}, where)
    return SavedModel(generator.eval(), priors, data.get("metadata") or {})
