"""One person followed from picture to picture."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from networks.person.tracker.crops import Region
from networks.person.tracker.detection import (
    body_detector,
    body_region,
    distinct,
    face_detectors,
    face_region,
)
from networks.person.tracker.landmarks import NUM_FACE, NUM_IRIS, NUM_POSE, BodyLandmarker, BodyPoints, FaceLandmarker
from networks.person.tracker.masks import Segmenter
from torch_utils.misc import UserError
from torch_utils.video_reader import Frame

NUM_LANDMARKS = NUM_FACE + 2 * NUM_IRIS
LEAST = 0.5  # score from which on a face or a body is one
_NOSE = 0  # of a body's landmarks
_RETRY = 10  # pictures until a body is looked for again


class Sighting(NamedTuple):
    """What is seen of the person in one picture. Pixels whose centres are the integers: x right, y down, z away from
    the viewer in the same scale, from somewhere in the head or hips. NaN where nothing was found."""

    face: np.ndarray  # [478, 3] float32: MediaPipe's face mesh, then the irises of the person's right and left eye
    face_score: float  # 0..1; 0: not found
    pose: np.ndarray  # [33, 3] float32: BlazePose
    pose_world: np.ndarray  # [33, 3] float32 metres from the middle of the hips, axes likewise; a guess of the detector
    pose_visibility: np.ndarray  # [33] float32 0..1; 0: not found


@dataclass(frozen=True)
class Track:
    """A person over N pictures of one size; see :class:`Sighting`."""

    image_size: tuple[int, int]  # width, height
    seconds: np.ndarray  # [N] float64
    face: np.ndarray  # [N, 478, 3] float32
    face_score: np.ndarray  # [N] float32
    pose: np.ndarray  # [N, 33, 3] float32
    pose_world: np.ndarray  # [N, 33, 3] float32
    pose_visibility: np.ndarray  # [N, 33] float32

    @property
    def found(self) -> np.ndarray:
        """[N] bool: the pictures that show the person's face."""
        return self.face_score >= LEAST


class Tracker:
    """Follows one person: looks where the person was last, and everywhere when lost.

    Args:
        person: who, counted from 0 from the left of the first picture that shows so many faces; None: the largest face.
        threads: that the detector of bodies may use.

    Raises:
        UserError: the detectors are not to be had (see :mod:`networks.person.tracker.model_files`).
    """

    def __init__(self, person: int | None = None, threads: int = 2) -> None:
        self._who = person
        self._face_detectors, self._body_detector = face_detectors(), body_detector()
        self._face_landmarks, self._body_landmarks = FaceLandmarker(), BodyLandmarker(threads)
        self._segmenter: Segmenter | None = None
        self.forget()

    def forget(self) -> None:
        """The next picture has nothing to do with those before."""
        self._face: Region | None = None  # where it should be in the next picture
        self._last: Region | None = None  # where it was when it was last seen
        self._body: Region | None = None
        self._wait = 0  # pictures until a body is looked for
        self.most_faces = 0  # that were seen at once
        self.body: BodyPoints | None = None  # of the last picture

    def step(self, image: np.ndarray | Image.Image) -> Sighting:
        """The next picture, [H, W, 3] uint8 RGB or an RGB picture of Pillow's; its size may be another one's."""
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        face, score = self._find_face(picture)
        body = self.body = self._find_body(picture, face)
        return Sighting(
            face=_nothing(NUM_LANDMARKS) if face is None else face,
            face_score=score,
            pose=_nothing(NUM_POSE) if body is None else body.points,
            pose_world=_nothing(NUM_POSE) if body is None else body.world,
            pose_visibility=np.zeros(NUM_POSE, np.float32) if body is None else body.visibility,
        )

    def mask(self, picture: np.ndarray | Image.Image) -> np.ndarray:
        """How far every pixel of the picture that was last seen shows the person: [H, W] uint8 0..255.

        Raises:
            ValueError: no face was found in it.
        """
        if self._face is None:
            raise ValueError("expected a picture in which the person was found")
        self._segmenter = self._segmenter or Segmenter()
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        return self._segmenter(image, self._face, self.body)

    def _find_face(self, picture: Image.Image) -> tuple[np.ndarray | None, float]:
        for place in (lambda: self._face, lambda: self._choose(self._detect_faces(picture))):
            if (region := place()) is None:
                continue
            found = self._face_landmarks(picture, region)
            if found.score >= LEAST:
                self._face = self._last = found.region()
                return found.points, found.score
            self._face = None
        return None, 0.0

    def _detect_faces(self, picture: Image.Image) -> list[Region]:
        """All faces; what has no landmarks is none."""
        found = distinct([face for detector in self._face_detectors for face in detector(picture)])
        looked = [self._face_landmarks(picture, face_region(face)) for face in found]
        regions: list[Region] = []
        for region in (face.region() for face in sorted(looked, key=lambda face: -face.score) if face.score >= LEAST):
            if all(np.linalg.norm(region.centre - other.centre) > other.size / 3 for other in regions):
                regions.append(region)
        self.most_faces = max(self.most_faces, len(regions))
        return regions

    def _choose(self, faces: list[Region]) -> Region | None:
        """The face that is the person's, if it is among them."""
        if (last := self._last) is not None:
            return min(faces, key=lambda face: _away(face, last), default=None)
        if self._who is None:
            return max(faces, key=lambda face: face.size, default=None)
        return sorted(faces, key=lambda face: face.centre[0])[self._who] if self._who < len(faces) else None

    def _find_body(self, picture: Image.Image, face: np.ndarray | None) -> BodyPoints | None:
        """The body that ``face`` [478, 3] is of; while that is lost, the one it was of."""
        if self._body is not None:
            found = self._body_landmarks(picture, self._body)
            if found.score >= LEAST and _belongs(found, self._face):
                self._body = found.next
                return found
            self._body = None
            self._wait = 0
        if face is None or self._face is None or self._wait > 0:
            self._wait -= 1
            return None
        for body in self._body_detector(picture):
            if np.abs(body.centre - self._face.centre).max() > self._face.size / 2:
                continue
            found = self._body_landmarks(picture, body_region(*body.points[:2]))
            if found.score >= LEAST and _belongs(found, self._face):
                self._body = found.next
                return found
        self._wait = _RETRY
        return None


def track(frames: Iterable[Frame], person: int | None = None) -> Track:
    """Follows a person through a video.

    Args:
        frames: pictures of one size with the seconds they belong to; read one by one.
        person: see :class:`Tracker`.

    Raises:
        UserError: no picture, no face in any of them, not as many people as ``person`` says, or no detectors.
    """
    tracker, seconds, seen, size = Tracker(person), [], [], (0, 0)
    for frame in frames:
        height, width = frame.image.shape[:2]
        size = (width, height)
        seconds.append(frame.seconds)
        seen.append(tracker.step(frame.image))
    if not seen:
        raise UserError("expected pictures, found none")
    if not any(one.face_score for one in seen):
        if person is not None and tracker.most_faces:
            raise UserError(f"person {person}: expected so many faces, found at most {tracker.most_faces} at once")
        raise UserError(f"no face in any of {len(seen)} pictures")
    return Track(size, np.array(seconds), *(np.stack(values).astype(np.float32) for values in zip(*seen, strict=True)))


def _nothing(count: int) -> np.ndarray:
    return np.full((count, 3), np.nan, np.float32)


def _away(face: Region, last: Region) -> float:
    """How far a face is from where one was, in place and size, by the larger one's size."""
    off = np.linalg.norm(face.centre - last.centre) + abs(face.size - last.size)
    return float(off) / max(face.size, last.size)


def _belongs(body: BodyPoints, face: Region | None) -> bool:
    """Whether the nose of a body lies in a face."""
    return face is None or bool(np.linalg.norm(body.points[_NOSE, :2] - face.centre) < face.size / 2)
