"""Find out what fitted shapes say of true ones, by fitting drawn people.

    python -m training.tracker_shapes --people 240

Many people are drawn, and the open body is fitted to what the tracker sees of them: to a single picture, to a few and
to many, whole ones and ones that are cut as photos are. By ridge regression their true shapes follow from all these,
and once more from those to a single picture beside what the face net reads in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
from PIL import Image

from networks.person.face_recon import FACE_RECON_FILE, FaceReconstructor, load_face_recon
from networks.person.fitting.fit import fit_frames
from networks.person.fitting.measured import Landmarks, landmarks_of, observed
from networks.person.fitting.person import find_person
from networks.person.fitting.photo import read_identity
from networks.person.fitting.points import open_body_model, surface_points
from networks.person.fitting.priors import priors
from networks.person.fitting.shape_map import PATH, ShapeMap, ShapeMaps, write_shape_maps
from networks.person.fitting.start import first_guess
from networks.person.open_body.storage import read_open_body
from networks.person.tracker.follow import Track
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
    read: np.ndarray  # [S, 80] z_id as the face net reads it in a single picture; nan of others
    true: np.ndarray  # [S, 90]

    def rows(self, chosen: np.ndarray) -> Fitted:
        """Of the fits ``chosen``."""
        return Fitted(*(values[chosen] for values in self))


def main() -> None:
    """Command line; see the module's docstring."""
    args = arguments("tracker_shapes", __doc__, people=240, seed=31337, out=PATH)
    net = load_face_recon(FACE_RECON_FILE)
    fitted = fit_all(looks(args.people, args.seed), landmarks_of(read_landmark_points()), net)
    about = {"people": args.people, "seed": args.seed, "face_net": file_sha256(FACE_RECON_FILE)}
    write_shape_maps(ShapeMaps(shape_map(fitted), read_map(fitted), about), args.out)
    for count in sorted(_FITS):
        before, after, read = errors(fitted.rows(fitted.pictures == count), fitted)
        print(f"{count:2d} pictures: landmarks lie {before:.2f} mm off as fitted, {after:.2f} mm by others' map")
        if count == 1:
            print(f"   {read:.2f} mm by others' map of what the face net reads as well")
    print(f"wrote {args.out} sha256 {file_sha256(args.out)}")


def fit_all(pictures: Iterable[Look], marks: Landmarks, net: FaceReconstructor) -> Fitted:
    """Fits every person to some of their pictures."""
    rows = []
    for person, own in groupby(pictures, lambda look: look.person):
        for chosen in _choices(list(own)):
            rows.append((person, len(chosen), *_found(chosen, marks, net), chosen[0].shape))
    return Fitted(*(np.stack(values) for values in zip(*rows, strict=True)))


def _choices(own: list[Look]) -> Iterator[list[Look]]:
    """Of a person's pictures those for a fit each; there is none to more pictures than show a face."""
    for whole in (True, False):
        kind = [look for look in own if look.whole == whole]
        for count, times in _FITS.items():
            for start in range(0, count * times, count):
                if len(chosen := kind[start : start + count]) == count:
                    yield chosen


def _found(chosen: list[Look], marks: Landmarks, net: FaceReconstructor) -> tuple[np.ndarray, np.ndarray]:
    """The shape [90] of a fit, and z_id [80] as the net reads it, of one picture."""
    sightings = zip(*(look.seen for look in chosen), strict=True)
    parts = (np.stack([np.asarray(part, np.float32) for part in field]) for field in sightings)
    what = observed(Track((SIZE, SIZE), np.arange(len(chosen), dtype=np.float64), *parts), marks)
    start = first_guess(marks.points, what, priors().shape_mean)
    who = find_person(what, marks, *start)
    if len(chosen) > 1:
        return who.fitted.numpy(), np.full(80, np.nan)
    fit = fit_frames(marks.points, what, who.seen, *start)
    everything = Image.new("L", (SIZE, SIZE), 255)
    return who.fitted.numpy(), read_identity(net, Image.fromarray(chosen[0].image), everything, fit).numpy()


def shape_map(fitted: Fitted) -> ShapeMap:
    """What fitted shapes say."""
    return _ridge(fitted.found, fitted.true, _units())


def read_map(fitted: Fitted) -> ShapeMap:
    """What they say beside what is read in the same picture."""
    single = fitted.rows(fitted.pictures == 1)
    units = np.zeros((170, 170))
    units[:90, :90], units[90:, 90:] = _units(), _units(80)
    return _ridge(np.concatenate([single.found, single.read], 1), single.true, units)


def _units(count: int = 90) -> np.ndarray:
    """Shapes' differences (their first ``count`` numbers) -> standard deviations of adults [count, count]."""
    scale, whiten = np.linalg.eigh(np.linalg.inv(priors().shape.numpy())[:count, :count])
    return whiten / scale**0.5


def _ridge(found: np.ndarray, true: np.ndarray, units: np.ndarray) -> ShapeMap:
    """The map from ``found`` [S, C], in ``units`` [C, C], to shapes [S, 90] by ridge regression."""
    middle, mean = found.mean(0), true.mean(0)
    inputs = (found - middle) @ units
    normal = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    matrix = (units @ np.linalg.solve(normal, inputs.T @ (true - mean))).T
    return ShapeMap(matrix.astype(np.float32), (mean - matrix @ middle).astype(np.float32))


def errors(some: Fitted, everybody: Fitted) -> tuple[float, float, float]:
    """How far the face's landmarks lie from the true ones, mm: as fitted, and by maps in which the person had no part,
    of ``everybody``'s fits and of what is read as well (nan of several pictures)."""
    mapped, read = np.zeros_like(some.true), np.full_like(some.true, np.nan)
    single = bool(np.isfinite(some.read).all())
    for fold in range(_FOLDS):
        own, others = some.person % _FOLDS == fold, everybody.rows(everybody.person % _FOLDS != fold)
        if own.any() and len(others.person):
            shapes = shape_map(others)
            mapped[own] = some.found[own] @ shapes.matrix.T + shapes.constant
            if single:
                shapes = read_map(others)
                read[own] = np.concatenate([some.found, some.read], 1)[own] @ shapes.matrix.T + shapes.constant
    basis = surface_points(open_body_model(), read_open_body().landmarks[:, None], np.ones((68, 1))).shape_basis.numpy()
    off = (np.einsum("nck,sk->snc", basis, shape - some.true) for shape in (some.found, mapped, read))
    as_fitted, by_fits, by_reading = (float(np.linalg.norm(each, axis=-1).mean() * MILLIMETRES) for each in off)
    return as_fitted, by_fits, by_reading


if __name__ == "__main__":
    run_cli(main)
