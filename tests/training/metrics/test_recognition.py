"""Distances between faces; with dlib's net where the optional packages are installed."""

import importlib
import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from tests.training.metrics.test_control import scene
from torch_utils.misc import UserError
from training.metrics import recognition
from training.metrics.control import ControlConfig
from training.metrics.recognition import FaceRecognition, distances_of, recognition_distance

PACKAGES = ("dlib", recognition.PACKAGE)
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason="needs requirements-metrics.txt"
)


def test_distances_by_hand():
    """People at 0, 3 and nowhere on a line; their second faces 1 and 2 further on, and at 9."""
    first, second = torch.tensor([[0.0], [3.0], [torch.nan]]), torch.tensor([[1.0], [5.0], [9.0]])
    # same: 1 and 2; others: 0-5, 0-9, 3-1, 3-9
    assert distances_of(first, second) == {"same": 1.5, "others": (5 + 9 + 2 + 6) / 4}


def test_faces_that_are_not_found_are_counted(monkeypatch):
    """A net that sees every second picture, and in it where the person is."""
    seen = []

    class EverySecond:
        def __call__(self, picture):
            seen.append(picture)
            return torch.full((recognition.FEATURES,), float(picture[0, 0, 0])) if len(seen) % 2 else None

    monkeypatch.setattr(recognition, "FaceRecognition", EverySecond)
    found = recognition_distance(scene(people=4))
    assert found["found"] == 0.5 and len(seen) == 8 and seen[0].dtype == np.uint8
    values = [float(picture[0, 0, 0]) for picture in seen[::2]]  # people 0, 2, 0, 2
    assert found["same"] == pytest.approx(np.mean(np.abs(np.subtract(values[:2], values[2:]))) * 128**0.5)


def test_missing_packages_are_told_in_one_line_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match="^--metrics recognition needs the package face-recognition-models: pip install"
    ):
        ControlConfig(metrics=("recognition",))
    monkeypatch.setattr(recognition, "packaged_file", lambda *_: "file")
    monkeypatch.setattr(importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError("no dlib")))
    with pytest.raises(UserError, match="^--metrics recognition needs the package dlib-bin: pip install .* .no dlib.$"):
        ControlConfig(metrics=("recognition",))


@needs_packages
def test_a_photo_is_near_itself_mirrored_and_shrunk():
    """0.19 and 0.22 here; two photos of one man are about 0.4 apart, two men 0.8; cats have no face."""
    recognise, photo = FaceRecognition(), data.astronaut()
    small = np.array(Image.fromarray(photo).crop((100, 0, 400, 300)).resize((150, 150)))
    face, mirrored, shrunk = (recognise(picture) for picture in (photo, photo[:, ::-1], small))
    assert face.shape == (recognition.FEATURES,)
    assert (face - mirrored).norm() < 0.3 and (face - shrunk).norm() < 0.3
    assert recognise(data.chelsea()) is None
