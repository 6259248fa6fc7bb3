"""Features on disk: written row by row, kept, checked; pictures of folders and data sets."""

import json
import random
import resource
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.metrics.made_up import pixel_detector, save
from tests.training.tiny_run import ALONE
from torch_utils.misc import UserError
from training.metrics.features import cached_features, extract_features, open_features
from training.metrics.pictures import DatasetPictures, FolderPictures


def test_features_are_written_row_by_row_whatever_the_batch(dataset, tmp_path):
    source = DatasetPictures(dataset, {"full": 16, "face": 8}, 12)
    expected = torch.cat([source.read(range(i, i + 1))["full"].float().mean((2, 3)) for i in range(12)]).numpy()
    for batch_size in (1, 5, 16):
        found = extract_features(source, pixel_detector(), tmp_path, ALONE, batch_size=batch_size)
        np.testing.assert_allclose(found["full"], expected, rtol=1e-6)
        assert isinstance(found["full"], np.memmap)


def test_the_cache_is_used_and_checked(dataset, tmp_path):
    source = DatasetPictures(dataset, {"full": 16}, 12)
    found = cached_features(source, pixel_detector(), tmp_path, ALONE, batch_size=4)
    calls = []
    silent = pixel_detector()._replace(features=calls.append)
    again = cached_features(source, silent, tmp_path, ALONE, batch_size=4)
    assert not calls and np.array_equal(found["full"], again["full"])
    with pytest.raises(
        UserError, match="features.json: damaged, or cached features of something else .weights: expected new, found"
    ):
        cached_features(source, silent._replace(checksum="new"), tmp_path, ALONE, batch_size=4)
    note = next(tmp_path.glob("*/features.json"))
    note.write_text(json.dumps(json.loads(note.read_text()) | {"pictures": "0"}))
    with pytest.raises(UserError, match="something else .pictures"):
        cached_features(source, silent, tmp_path, ALONE, batch_size=4)


@pytest.mark.parametrize("end", [0, 60, -1])
def test_damaged_features_are_not_taken(dataset, tmp_path, end):
    source = DatasetPictures(dataset, {"full": 16}, 12)
    cached_features(source, pixel_detector(), tmp_path, ALONE, batch_size=4)
    (path,) = tmp_path.glob("*/full.npy")
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(UserError, match="damaged, or cached features .*full.npy: expected .*; remove the folder"):
        cached_features(source, pixel_detector(), tmp_path, ALONE, batch_size=4)
    with pytest.raises(UserError, match="full.npy: no readable features .*; remove the folder to make it anew"):
        open_features(path, [len(source), 2])
    path.unlink()
    with pytest.raises(UserError, match="full.npy: cannot be read: No such file or directory; remove the folder"):
        cached_features(source, pixel_detector(), tmp_path, ALONE, batch_size=4)


def test_no_changed_byte_of_features_is_believed(dataset, tmp_path):
    source, rng = DatasetPictures(dataset, {"full": 16}, 12), random.Random(0)
    cached_features(source, pixel_detector(), tmp_path, ALONE, batch_size=4)
    for path in next(tmp_path.iterdir()).iterdir():
        sound = path.read_bytes()
        for place in rng.sample(range(len(sound)), k=min(len(sound), 60)):
            path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
            try:
                cached_features(source, pixel_detector(), tmp_path, ALONE, batch_size=4)
            except UserError as error:
                assert "remove the folder" in str(error)
            else:  # between the words of the JSON
                assert json.loads(path.read_text()) == json.loads(sound)
        path.write_bytes(sound)


def test_a_full_disk_is_an_error_of_one_line(dataset, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write beyond the limit is an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match="full.npy: cannot be written: File too large"):
            cached_features(DatasetPictures(dataset, {"full": 16}, 12), pixel_detector(), tmp_path, ALONE, batch_size=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_may_serve_for_either_region(tmp_path):
    folder, cache = save(tmp_path / "a", [8] * 3), tmp_path / "cache"
    found = {}
    for region in ("full", "face"):
        found |= cached_features(FolderPictures(folder, region), pixel_detector(), cache, ALONE, batch_size=2)
    assert np.array_equal(found["full"], found["face"])


def test_folders(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        FolderPictures(tmp_path / "absent")
    (tmp_path / "half").mkdir()
    (tmp_path / "half/a.png").write_bytes((save(tmp_path / "whole", [8]) / "000.png").read_bytes()[:60])
    with pytest.raises(UserError, match="a.png: damaged, cut short or no picture"):
        FolderPictures(tmp_path / "half").read(range(1))


def test_folders_as_people_have_them(tmp_path):
    """TIFF, grey of 16 bits and alpha are pictures; what systems leave in folders is not."""
    folder = tmp_path / "a"
    (folder / "__MACOSX").mkdir(parents=True)
    for clutter in (".DS_Store", "._a.png", "Thumbs.db", "__MACOSX/._a.png"):
        (folder / clutter).write_bytes(b"no picture")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(folder / "a.tif")
    Image.fromarray(np.full((8, 8), 257 * 7, np.uint16)).save(folder / "b.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(folder / "c.png")
    found = FolderPictures(folder)
    assert [file.name for file in found.files] == ["a.tif", "b.png", "c.png"]
    colours = found.read(range(3))["full"][:, :, 0, 0].tolist()
    assert colours == [[1, 2, 3], [7, 7, 7], [255, 255, 255]]
