"""Expressions by the names of facial actions, and which face model the 64 numbers of an expression belong to.

The actions are ARKit's 52 (open_body/actions.py), each 0..1: the open face's first expression directions. A Basel face
model's coefficients (Deep3DFaceRecon, SHHQ) have no names and mean something else; so do those of checkpoints from
before the open face ("embedded"). Who reads expressions from outside asks :func:`carried` whether they are for the
checkpoint at hand.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from networks.person.open_body.actions import ACTIONS
from torch_utils.misc import UserError

NUM_EXPRESSION = 64
ARKIT, BASEL, EMBEDDED = "arkit", "basel", "embedded"
FACE_MODELS = (ARKIT, BASEL, EMBEDDED)
DEFAULT_FACE = ARKIT  # what a configuration without a face model means
_SIDES = ("Left", "Right")
# To one side and to the other: no pair that a face makes at once.
_OPPOSITES = ("jaw", "mouth")


def has_actions(face_model: str | None) -> bool:
    """Whether coefficients have the names of facial actions; None, a face model that is not known, is taken to."""
    return face_model in (ARKIT, None)


def columns_of(name: str) -> tuple[int, ...]:
    """Columns of an action, ``eyeBlinkLeft``, or of both sides of a pair, ``eyeBlink``; KeyError for another name."""
    if name in ACTIONS:
        return (ACTIONS.index(name),)
    if name in _OPPOSITES or f"{name}Left" not in ACTIONS:
        raise KeyError(name)
    return tuple(ACTIONS.index(f"{name}{side}") for side in _SIDES)


def coefficient_names(face_model: str | None) -> tuple[str, ...]:
    """Names of the 64 coefficients: of "arkit" the actions, then, and of others throughout, ``expression_NN``."""
    named = ACTIONS if face_model == ARKIT else ()
    return named + tuple(f"expression_{column:02d}" for column in range(len(named), NUM_EXPRESSION))


def expression(**amounts: float) -> np.ndarray:
    """[64] from amounts by name (see :func:`columns_of`): ``expression(jawOpen=0.4, mouthSmile=0.8)``."""
    out = np.zeros(NUM_EXPRESSION)
    for name, amount in amounts.items():
        out[list(columns_of(name))] += amount
    return out


def face_model_name(path: str | None) -> str:
    """Name of the face model that a configuration's ``face_model`` is: a file, or None for the default one."""
    return DEFAULT_FACE if path is None else BASEL


def face_model_of(metadata: Mapping[str, Any]) -> str | None:
    """The face model that a checkpoint's expressions belong to, by its metadata; None where they do not say."""
    if "face_model" in metadata:
        return metadata["face_model"] if metadata["face_model"] in FACE_MODELS else None
    training = metadata.get("training")
    if not isinstance(training, Mapping):
        return None
    return EMBEDDED if training.get("face_model") is None else BASEL  # from before the open face


def check_face_model(found: str | None, wanted: str | None, where: str) -> None:
    """UserError naming ``where``, a checkpoint, if its expressions are of another face model; None: not known."""
    if found is not None and wanted is not None and found != wanted:
        raise UserError(f"{where}: expected a checkpoint of the face model {wanted}, found one of {found}")


def carried(rows: np.ndarray, spoken: str | None, wanted: str | None, where: str) -> np.ndarray:
    """Expressions [..., 64] of the face model ``spoken`` where ``wanted`` is asked for; None: whichever it is.

    Raises:
        UserError: naming ``where``, if they are of another face model.
    """
    if spoken is not None and wanted is not None and spoken != wanted:
        raise UserError(f"{where}: expected expressions of the checkpoint's face model, {wanted}, found {spoken}'s")
    return rows
