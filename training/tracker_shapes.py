"""Find out what fitted shapes say of true ones, by fitting drawn people.

    python -m training.tracker_shapes --people 240

Many people are drawn, and the open body is fitted to what the tracker sees of them: to a single picture, to a few and
to many, whole ones and ones that are cut as photos are. By ridge regression their true shapes follow from all these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from networks.person.fitting.fit import fit_person
from networks.person.fitting.measured import Landmarks, landmarks_of, observed
from networks.person.fitting.points import open_body_model, surface_points
from networks.person.fitting.priors import priors
from networks.person.fitting.shape_map import PATH, ShapeMap, write_shape_map
from networks.person.fitting.start import first_guess
from networks.person.open_body.storage import read_open_body
from networks.person.tracker.follow import Sighting, Track
from networks.person.tracker.surface import read_landmark_points
from networks.person.tracking import MILLIMETRES
from torch_utils.misc import file_sha256, run_cli
from training.tracker_calibration import arguments
from training.tracker_people import SIZE, Look, looks

_FITS = {1: 2, 4: 1, 10: 1}  # to how many pictures a person is fitted, and how often, to whole and to cut ones each
_RIDGE = 10.0  # fits, of shapes in standard deviations of adults
_FOLDS = 10


class Fitted(NamedTuple):
    """S fits to so many pictures each."""

    person: np.ndarray  # [S]
    pictures: np.ndarray  # [S]
    found: np.ndarray  # [S, 90]
    true: np.ndarray  # [S, 90]


def main() -> None:
    """Command line; see the module's docstring."""
    args = arguments("tracker_shapes", __doc__, people=240, seed=31337, out=PATH)
    fitted = fit_all(looks(args.people, args.seed), landmarks_of(read_landmark_points()))
    shapes = shape_map(fitted)
    shapes.metadata.update(people=args.people, seed=args.seed)
    write_shape_map(shapes, args.out)
    for count in sorted(_FITS):
        before, after = errors(fitted, count)
        print(f"{count:2d} pictures: landmarks lie {before:.2f} mm off as fitted, {after:.2f} mm by others' map")
    print(f"wrote {args.out} sha256 {file_sha256(args.out)}")


def fit_all(pictures: Iterable[Look], marks: Landmarks) -> Fitted:
    """Fits every person to some of their pictures."""
    rows = []
    for person, own in groupby(pictures, lambda look: look.person):
        for chosen in _choices(list(own)):
            found = _found([look.seen for look in chosen], marks)
            rows.append((person, len(chosen), found, chosen[0].shape))
    return Fitted(*(np.stack(values) for values in zip(*rows, strict=True)))


def _choices(own: list[Look]) -> Iterator[list[Look]]:
    """Of a person's pictures those for a fit each; there is none to more pictures than show a face."""
    for whole in (True, False):
        kind = [look for look in own if look.whole == whole]
        for count, times in _FITS.items():
            for start in range(0, count * times, count):
                if len(chosen := kind[start : start + count]) == count:
                    yield chosen


def _found(seen: list[Sighting], marks: Landmarks) -> np.ndarray:
    """The shape [90] of a fit."""
    parts = (np.stack([np.asarray(part, np.float32) for part in field]) for field in zip(*seen, strict=True))
    what = observed(Track((SIZE, SIZE), np.arange(len(seen), dtype=np.float64), *parts), marks)
    start = first_guess(marks.points, what, priors().shape_mean)
    return fit_person(marks.points, what, *start, pairs=False).shape.numpy()


def shape_map(fitted: Fitted) -> ShapeMap:
    """The map by ridge regression."""
    known = priors()
    scale, whiten = np.linalg.eigh(known.shape.numpy())
    units = whiten * scale**0.5  # of shapes' differences
    found, true = fitted.found.mean(0), fitted.true.mean(0)
    inputs = (fitted.found - found) @ units
    normal = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    matrix = (units @ np.linalg.solve(normal, inputs.T @ (fitted.true - true))).T
    return ShapeMap(matrix.astype(np.float32), (true - matrix @ found).astype(np.float32), {})


def errors(fitted: Fitted, pictures: int) -> tuple[float, float]:
    """How far the face's landmarks lie from the true ones, mm: fitted to so many pictures, and by a map in which the
    person had no part."""
    rows = np.flatnonzero(fitted.pictures == pictures)
    found, true = fitted.found[rows], fitted.true[rows]
    mapped = np.zeros_like(true)
    for fold in range(_FOLDS):
        own = fitted.person % _FOLDS == fold
        if own.any() and not own.all():
            shapes = shape_map(Fitted(*(values[~own] for values in fitted)))
            mapped[own[rows]] = found[own[rows]] @ shapes.matrix.T + shapes.constant
    basis = surface_points(open_body_model(), read_open_body().landmarks[:, None], np.ones((68, 1))).shape_basis.numpy()
    off = (np.einsum("nck,sk->snc", basis, shape - true) for shape in (found, mapped))
    before, after = (float(np.linalg.norm(each, axis=-1).mean() * MILLIMETRES) for each in off)
    return before, after


if __name__ == "__main__":
    run_cli(main)
