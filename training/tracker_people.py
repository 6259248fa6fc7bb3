"""Drawn people before the tracker: what it sees of people of whom all is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import trange

from networks.person.controls import HEAD, LEFT_COLLAR, LEFT_SHOULDER, NECK, NECK_SHARE, RIGHT_COLLAR, RIGHT_SHOULDER
from networks.person.open_body.storage import NUM_ACTIONS
from networks.person.tracker.follow import Sighting, Tracker
from torch_utils.misc import UserError
from training.data.synthetic import SyntheticPerson, draw, sample_actions, sample_expression, sample_identity
from training.data.synthetic.sampling import sample_strong

SIZE = 192  # pixels
SHOTS = 10  # of a person; the first one's face is calm
# Where photos end, as shares of the picture: left, top, right, bottom, from and to.
_EDGES = ((0.0, 0.0, 0.8, 0.8), (0.15, 0.05, 1.0, 1.0))


class Look(NamedTuple):
    """A picture of a person, and what the tracker sees in it."""

    person: int
    shape: np.ndarray  # [90] float32 z_id, betas
    actions: np.ndarray  # [52] float32
    eulers: np.ndarray  # [6, 3] radians
    camera: np.ndarray  # [2] pitch, yaw in radians
    edges: tuple[int, int, int, int]  # left, top, right, bottom of what the tracker is shown
    image: np.ndarray  # [H, W, 3] uint8 the whole picture on white, what is not shown as well
    seen: Sighting  # in pixels of the whole picture; nothing of the body beyond the edges
    whole: bool  # whether all of the picture is shown


def looks(people: int, seed: int, shots: int = SHOTS, size: int = SIZE, *, parts: bool = True) -> Iterator[Look]:
    """Draws people, ``shots`` of each, and looks at them, whole and with ``parts`` once more cut as photos are.

    Raises UserError where no face is found at all.
    """
    tracker, found = Tracker(threads=1), False
    for number in trange(people):
        rng = np.random.default_rng([seed, number])
        who = sample_identity(rng)
        person, shape = SyntheticPerson(who.z_id, who.eps, who.betas), np.concatenate([who.z_id, who.betas])
        for shot in range(shots):
            eulers, camera = sample_turned(rng)
            expression = (sample_expression, sample_actions, sample_strong)[rng.integers(3)](rng) * (shot > 0)
            picture, wall = draw(person.posed(expression, eulers), camera, size), rng.uniform(0.2, 1, 3)
            white = (picture.image.transpose(1, 2, 0) + 1) / 2
            image = _pixels(white - (1 - picture.alpha[..., None]) * (1 - wall))
            shown = [(0, 0, size, size)]
            shown += [tuple((rng.uniform(*_EDGES) * size).astype(int).tolist())] if parts else []
            for edges in shown:
                if (seen := _seen(tracker, image, edges)).face_score:
                    found, whole = True, edges == shown[0]
                    cut = _cut(_pixels(white), edges)
                    yield Look(number, shape, expression[:NUM_ACTIONS], eulers, camera, edges, cut, seen, whole)
    if not found:
        raise UserError("no face was found in any picture")


def _pixels(image: np.ndarray) -> np.ndarray:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def _cut(image: np.ndarray, edges: tuple[int, int, int, int]) -> np.ndarray:
    """An image, white beyond the edges."""
    left, top, right, bottom = edges
    shown = np.full_like(image, 255)
    shown[top:bottom, left:right] = image[top:bottom, left:right]
    return shown


def _seen(tracker: Tracker, image: np.ndarray, edges: tuple[int, int, int, int]) -> Sighting:
    left, top, right, bottom = edges
    tracker.forget()
    return inside(tracker.step(image[top:bottom, left:right]), edges)


def inside(seen: Sighting, edges: tuple[int, int, int, int]) -> Sighting:
    """What was seen in a part of a picture, in pixels of the whole; of the body what lies within the edges."""
    left, top, right, bottom = edges
    place = seen.pose[:, :2]
    there = np.all((place >= 0) & (place <= [right - left - 1, bottom - top - 1]), axis=1, keepdims=True)
    corner = np.array([left, top, 0], np.float32)
    return seen._replace(face=seen.face + corner, pose=np.where(there, seen.pose + corner, np.float32(np.nan)))


def sample_turned(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """joint_eulers [6, 3] and camera [2], radians: heads and cameras turned far, shoulders raised."""
    eulers = np.zeros((6, 3))
    yaw = np.clip(rng.standard_normal() * 0.25, -0.6, 0.6)
    pitch = np.clip(rng.standard_normal() * 0.1, -0.25, 0.25)
    turn = np.clip(rng.standard_normal() * 0.25 - 0.4 * yaw * (rng.random() < 0.5), -0.6, 0.6)
    nod = np.clip(rng.standard_normal() * 0.13, -0.35, 0.35)
    tilt = np.clip(rng.standard_normal() * 0.08, -0.25, 0.25)
    eulers[NECK], eulers[HEAD] = (share * np.array([tilt, turn, nod]) for share in (NECK_SHARE, 1 - NECK_SHARE))
    shrug = 0.0 if rng.random() < 0.3 else max(-0.1, rng.standard_normal() * 0.15)
    sway = 0.0 if rng.random() < 0.5 else rng.standard_normal() * 0.08
    left, right = np.clip([shrug + sway, shrug - sway], -0.12, 0.5)
    eulers[[LEFT_COLLAR, RIGHT_COLLAR], 0] = left, -right
    eulers[[LEFT_COLLAR, RIGHT_COLLAR], 1] = rng.standard_normal(2) * 0.05
    hang = rng.random()
    eulers[[LEFT_SHOULDER, RIGHT_SHOULDER]] = rng.standard_normal((2, 3)) * 0.06
    eulers[[LEFT_SHOULDER, RIGHT_SHOULDER], 0] += -hang * left, hang * right
    return eulers, np.array([np.pi / 2 + pitch, np.pi / 2 + yaw])
