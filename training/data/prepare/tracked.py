"""Photos and frames without anybody's fits: what the tracker sees, fitted by the open body -> items of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from networks.cameras import PORTRAIT_CAMERA
from networks.person.body_model import HEAD
from networks.person.fitting.fit import Fit
from networks.person.fitting.frames import ROLL, camera, joint_eulers
from networks.person.fitting.measured import Landmarks, expressions
from networks.person.fitting.photo import MAX_ERROR, fit_sightings, portrait_placement
from networks.person.framing import Placement, frame_points
from networks.person.tracker.follow import LEAST, Sighting, Tracker
from networks.person.tracking import View, five_points, seen_by_head
from torch_utils.pictures import read_picture
from torch_utils.video_reader import VideoReader
from training.data.prepare.alignment import face_placement
from training.data.prepare.models import Models
from training.data.prepare.photo import Geometry, Item, PrepareConfig, Skipped, make_item, skip
from training.data.prepare.report import Outcome

LEAST_SHARP = 0.012  # see `sharpness`; 0.03 and more in photos that people would call sharp
_SHARPNESS_SIZE = 128  # pixels of the face that is asked


class Shot(NamedTuple):
    """A picture that shows a person."""

    name: str
    picture: Image.Image
    mask: Image.Image  # L
    sighting: Sighting


class Preparation:
    """Path of a photo or video -> its items, or why there are none.

    Args:
        marks: see networks/person/fitting/measured.py.
        models: the open body and face.
        config: what pictures look like and which are taken.
        person: whom to take where there are several people, counted from 0 from the left; -1: the largest face; None:
            nobody.
    """

    def __init__(self, marks: Landmarks, models: Models, config: PrepareConfig, person: int | None, every: int) -> None:
        self.marks, self.models, self.config, self.person, self.every = marks, models, config, person, every
        self._tracker: Tracker | None = None

    def photo(self, path: Path) -> list[tuple[str, Item | Outcome]]:
        """The item of a photo, by its name."""
        try:
            with skip("photo"):
                picture = read_picture(path)
            shot = self._look(path.name, picture, forget=True)
            fit = self._fit([shot])
            return [(path.name, self._item(shot, fit, 0))]
        except Skipped as skipped:
            return [(path.name, Outcome(path.name, skipped.kind, str(skipped)))]

    def video(self, path: Path) -> list[tuple[str, Item | Outcome]]:
        """Items of every ``every``-th frame of a video, whose person is the same in all of them."""
        results: list[tuple[str, Item | Outcome]] = []
        shots: list[Shot] = []
        places: list[int] = []
        try:
            with skip("video"):
                for name, picture in self._frames(path):
                    results.append((name, Outcome(name, "no face")))
                    try:
                        shots.append(self._look(name, picture, forget=not shots))
                        places.append(len(results) - 1)
                    except Skipped as skipped:
                        results[-1] = (name, Outcome(name, skipped.kind, str(skipped)))
            if not shots:
                return results
            fit = self._fit(shots)
        except Skipped as skipped:
            return [(path.name, Outcome(path.name, skipped.kind, str(skipped)))]
        for row, (place, shot) in enumerate(zip(places, shots, strict=True)):
            try:
                results[place] = (shot.name, self._item(shot, fit, row))
            except Skipped as skipped:
                results[place] = (shot.name, Outcome(shot.name, skipped.kind, str(skipped)))
        return results

    def _frames(self, path: Path) -> Iterator[tuple[str, Image.Image]]:
        for count, frame in enumerate(VideoReader(path)):
            if count % self.every == 0:
                yield f"{path.name} {frame.seconds:.2f} s", Image.fromarray(frame.image)

    def _look(self, name: str, picture: Image.Image, *, forget: bool) -> Shot:
        """Who is in a picture. Raises Skipped."""
        if self._tracker is None:  # nets do not travel between processes
            who = None if self.person is None or self.person < 0 else self.person
            self._tracker = Tracker(who, threads=1)
        tracker = self._tracker
        if forget:
            tracker.forget()
        seen = tracker.step(picture)
        if tracker.most_faces > 1 and self.person is None:
            raise Skipped("several people", f"found {tracker.most_faces} faces; --person largest takes one of them")
        if seen.face_score < LEAST:
            raise Skipped("no face", "no face was found")
        if (sharp := sharpness(picture, seen.face)) < LEAST_SHARP:
            raise Skipped("blurred", f"the face is blurred: sharpness {sharp:.4f}, expected {LEAST_SHARP:g} or more")
        return Shot(name, picture, Image.fromarray(tracker.mask(picture)), seen)

    def _fit(self, shots: Sequence[Shot]) -> Fit:
        """The person of all shots, and what each of them shows."""
        return fit_sightings(shots[0].picture.size, [shot.sighting for shot in shots], self.marks)

    def _item(self, shot: Shot, fit: Fit, row: int) -> Item:
        geometry = place(fit, row, self.models, self.config)
        return make_item(shot.picture, shot.mask, geometry, self.config)


def place(fit: Fit, row: int, models: Models, config: PrepareConfig) -> Geometry:
    """Labels and placements of a frame of a fit. Raises Skipped."""
    error = float(fit.error[row])
    if error > MAX_ERROR:
        raise Skipped("no fit", f"landmarks lie {error:.1f} mm from the fitted face, expected {MAX_ERROR:g} or less")
    frames, z_exp = fit.frames[row : row + 1], expressions(fit.actions[row : row + 1])
    z_id, betas = fit.shape[None, :80], fit.shape[None, 80:]
    angles, eulers = camera(frames), joint_eulers(frames)
    view = View(angles, frames[:, ROLL])
    portrait = portrait_placement(fit, row)
    if portrait.side < config.min_side:
        found = f"the portrait is {portrait.side:.0f} pixels wide, expected {config.min_side:g} or more"
        raise Skipped("too small", found)
    marks = models.face.landmark_points(z_id, z_exp)[0]
    head = models.body.joint_transforms(betas, eulers)[0, HEAD]
    seen = seen_by_head(angles, head[None, :3, :3], marks.mean(0)[None])
    turned = _degrees_away(seen)
    if turned > config.max_turn:
        found = f"the face is turned away by {turned:.0f} degrees, expected {config.max_turn:g} or less"
        raise Skipped("turned away", found)
    posed = (marks @ head[:3, :3].T + head[:3, 3]).numpy()
    in_frame = frame_points(posed, view, PORTRAIT_CAMERA)
    upright = face_placement(marks.numpy(), five_points(in_frame), seen)
    crop = Placement(upright.matrix @ portrait.matrix, upright.matrix @ portrait.shift + upright.shift)
    labels = {
        "camera": angles[0].numpy(),
        "joint_eulers": eulers[0].numpy(),
        "betas": betas[0].numpy(),
        "z_id": z_id[0].numpy(),
        "z_exp": z_exp[0].numpy(),
        "face_camera": seen.camera[0].numpy(),
        "landmarks": (in_frame + 1) / 2 * (config.size - 1),
    }
    body = frame_points(models.body.posed_vertices(betas, eulers)[0].numpy(), view, PORTRAIT_CAMERA)
    return Geometry(labels, portrait, crop, body)


def _degrees_away(view: View) -> float:
    """How far a face (B = 1) is turned away from its camera."""
    pitch, yaw = view.camera[0].tolist()
    return math.degrees(math.acos(min(1.0, max(-1.0, math.sin(pitch) * math.sin(yaw)))))


def sharpness(picture: Image.Image, face: np.ndarray) -> float:
    """How much detail a face [478, 3] has: the mean square of its Laplacian over its variance, at a fixed size.

    Unsharp faces have none at the scale of a hundredth of their width, whatever the light is.
    """
    low, high = face[:468, :2].min(0), face[:468, :2].max(0)
    box = (*(low - 0.5), *(high + 0.5))
    size, box = (_SHARPNESS_SIZE, _SHARPNESS_SIZE), _inside(box, picture.size)
    grey = np.asarray(picture.convert("L").resize(size, Image.Resampling.BICUBIC, box), np.float64)
    return float((ndimage.laplace(grey) ** 2).mean() / max(grey.var(), 1.0))


def _inside(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    left, top = min(max(left, 0.0), size[0] - 2.0), min(max(top, 0.0), size[1] - 2.0)
    return left, top, max(min(right, size[0]), left + 1), max(min(bottom, size[1]), top + 1)
