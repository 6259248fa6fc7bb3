"""Who it is: a person's shape from some pictures."""

from torch import Tensor

from networks.person.fitting.fit import Observed, fit_person
from networks.person.fitting.measured import Landmarks


def person_shape(seen: Observed, marks: Landmarks, frames: Tensor, actions: Tensor, *, steps: int = 12) -> Tensor:
    """Shape [90] (z_id, betas) of whom all pictures show; arguments as of :func:`fit.fit_person`."""
    fitted = fit_person(marks.points, seen, frames, actions, steps=steps).shape
    return fitted if marks.shapes is None else marks.shapes(fitted)
