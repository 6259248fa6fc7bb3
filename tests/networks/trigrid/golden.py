"""Golden values of portraits from all sides."""

from torch import Tensor

from networks.person.body_model import BodyModel
from tests.networks.golden import golden_body, load_golden


def read_golden(name: str) -> dict[str, Tensor]:
    """Arrays of a file."""
    return load_golden(f"portrait360/{name}")


def weights_of(golden: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a golden state dict under ``prefix``."""
    start = f"state.{prefix}"
    return {name.removeprefix(start): value for name, value in golden.items() if name.startswith(start)}


def golden_body_model() -> BodyModel:
    return BodyModel(*golden_body())
