"""Who it is: a person's shape from some pictures."""

from typing import NamedTuple

from torch import Tensor

from networks.person.fitting.fit import Observed, fit_person
from networks.person.fitting.measured import Landmarks


class Who(NamedTuple):
    """A person: z_id, betas."""

    shape: Tensor  # [90] that is expected of them
    seen: Tensor  # [90] whose landmarks are where the tracker sees theirs: by it poses and actions are told
    fitted: Tensor  # [90] by landmarks alone, without their pairs: what maps of shapes take


def find_person(seen: Observed, marks: Landmarks, frames: Tensor, actions: Tensor) -> Who:
    """Whom all pictures show; arguments as of :func:`fit.fit_person`."""
    shown, fitted = (fit_person(marks.points, seen, frames, actions, pairs=pairs).shape for pairs in (True, False))
    return Who(shown if marks.shapes is None else marks.shapes.fitted(fitted), shown, fitted)
