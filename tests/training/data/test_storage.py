"""Data sets on disk: round trips, resuming after every kind of stop, damaged files."""

import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sets import add_items, make_dataset, make_labels, make_mask, make_pixels, make_png, make_writer
from torch_utils.misc import UserError
from training.data.storage import DatasetWriter, open_dataset

KINDS = ["folder", "set.zip"]


def all_bytes(path: Path) -> dict[str, bytes]:
    """Every file under a folder, or a zip's own bytes."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(tmp_path, kind):
    dataset = open_dataset(make_dataset(tmp_path / kind, 4))
    assert (len(dataset), dataset.image_size, dataset.face_size) == (4, 16, 8)
    assert dataset.manifest["made_by"] == "a test" and dataset.manifest["num"] == 4
    for index in range(4):
        assert dataset.read_image(index) == make_png(make_pixels(index, 16))
        assert dataset.read_face(index) == make_png(make_pixels(index, 8))
        assert dataset.read_mask(index) == make_png(make_mask(index, 16))
        for name, row in make_labels(index).items():
            assert dataset.labels[name].dtype == np.float32
            np.testing.assert_array_equal(dataset.labels[name][index], row)
    assert dataset.manifest["files"]["images/000002.png"] == hashlib.sha256(dataset.read_image(2)).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == [kind]  # nothing temporary stays


def test_checksum_is_of_the_content(tmp_path):
    one, two = (open_dataset(make_dataset(tmp_path / kind)) for kind in KINDS)
    assert one.checksum == two.checksum
    other = open_dataset(make_dataset(tmp_path / "other", 4))
    assert other.checksum != one.checksum


def test_indices_in_any_order_and_with_gaps(tmp_path):
    with make_writer(tmp_path / "a") as writer:
        add_items(writer, [12, 3, 7])
        writer.finish()
    dataset = open_dataset(tmp_path / "a")
    assert dataset.pictures.names.tolist() == ["000003.png", "000007.png", "000012.png"]
    for row, index in enumerate((3, 7, 12)):
        np.testing.assert_array_equal(dataset.labels["betas"][row], make_labels(index)["betas"])


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_gives_the_same_bytes(tmp_path, kind):
    whole, parts = tmp_path / "whole" / kind, tmp_path / "parts" / kind
    make_dataset(whole, 6)
    with make_writer(parts) as writer:
        assert writer.done == frozenset()
        add_items(writer, [5, 0])
    with make_writer(parts) as writer:
        assert writer.done == {0, 5}
        add_items(writer, [1, 4, 3, 2])
    with make_writer(parts) as writer:  # all there, killed before finish
        writer.finish()
        writer.finish()  # does nothing
    with make_writer(parts) as writer:
        assert writer.done == set(range(6))
        writer.finish()
        with pytest.raises(UserError, match="finished; nothing can be added"):
            add_items(writer, [6])
    assert all_bytes(parts) == all_bytes(whole)


def killed_while_adding(path):
    with make_writer(path) as writer:
        add_items(writer, range(3))
        os.kill(os.getpid(), 9)


@pytest.mark.parametrize("kind", KINDS)
def test_kill_loses_nothing(tmp_path, kind):
    process = multiprocessing.get_context("spawn").Process(target=killed_while_adding, args=(tmp_path / kind,))
    process.start()
    process.join()
    assert process.exitcode == -9
    root = tmp_path / ("folder" if kind == "folder" else "set.zip.partial")
    with pytest.raises(UserError, match="no manifest.json|no such data set"):
        open_dataset(tmp_path / kind)
    # A kill may also cut the journal's last line short and leave a picture and a temporary file behind.
    with (root / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"index": 3, "files": {"ima')
    for stray in ("000003.png", ".000004.99.partial.png"):
        (root / "images" / stray).write_bytes(b"half a pict")
    with make_writer(tmp_path / kind) as writer:
        assert writer.done == {0, 1, 2}
        add_items(writer, [5])
        writer.finish()
    dataset = open_dataset(tmp_path / kind)
    assert dataset.pictures.names.tolist() == [f"{index:06d}.png" for index in (0, 1, 2, 5)]
    np.testing.assert_array_equal(dataset.labels["z_id"][3], make_labels(5)["z_id"])


def test_other_settings_are_refused(tmp_path):
    with make_writer(tmp_path / "begun") as writer:
        add_items(writer, [0])
    make_dataset(tmp_path / "finished")
    for name in ("begun", "finished"):
        with pytest.raises(UserError, match="made with other settings: 'image_size' is 16, now 32"):
            make_writer(tmp_path / name, image_size=32)
        with pytest.raises(UserError, match="'made_by' is 'a test', now 'seed 2'"):
            make_writer(tmp_path / name, made_by="seed 2")


def test_other_peoples_folders_are_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "holiday.jpg").write_bytes(b"sea")
    with pytest.raises(UserError, match="not empty and not a data set begun here"):
        make_writer(tmp_path)
    assert (tmp_path / "images" / "holiday.jpg").read_bytes() == b"sea"


def test_one_writer_at_a_time(tmp_path):
    with (
        make_writer(tmp_path / "a"),
        pytest.raises(UserError, match=rf"a: process {os.getpid()} on \S+ is writing this data set"),
    ):
        make_writer(tmp_path / "a")
    make_writer(tmp_path / "a").close()


def test_full_disk(tmp_path, monkeypatch):
    """The item that no longer fits is named; what was there before stays and the next run goes on."""
    writer = make_writer(tmp_path / "a")
    add_items(writer, [0])
    real = Path.write_bytes

    def no_space(path, data):
        if "000001" in path.name and "faces" in str(path):
            real(path, data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(UserError, match="faces/000001.png: cannot be written: No space left on device"):
        add_items(writer, [1])
    writer.close()
    monkeypatch.undo()
    assert not list((tmp_path / "a" / "faces").glob(".*"))
    with make_writer(tmp_path / "a") as writer:
        assert writer.done == {0}
        add_items(writer, [1])
        writer.finish()
    assert open_dataset(tmp_path / "a").read_face(1) == make_png(make_pixels(1, 8))


def test_full_disk_for_the_journal(tmp_path):
    """A line of which only a part could be written is taken back, and the same process can go on."""
    with make_writer(tmp_path / "a") as writer:
        add_items(writer, range(3))
        journal = tmp_path / "a" / "journal.jsonl"
        before, limits = journal.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))  # larger than a picture
        try:
            with pytest.raises(UserError, match="journal.jsonl: cannot be written: No space left"):
                add_items(writer, [3])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert journal.read_bytes() == before and writer.done == {0, 1, 2}
        add_items(writer, [3])
        writer.finish()
    assert len(open_dataset(tmp_path / "a")) == 4


def test_odd_items(tmp_path):
    picture = make_png(make_pixels(0, 16))
    good = make_labels(0)
    with make_writer(tmp_path / "a") as writer:
        for message, index, labels in (
            ("item 0: missing label 'betas'", 0, {k: v for k, v in good.items() if k != "betas"}),
            (r"label 'camera': expected shape \[2\], found \[3\]", 0, good | {"camera": np.zeros(3)}),
            ("label 'z_exp' holds NaN", 0, good | {"z_exp": np.full(64, np.nan)}),
            ("expected an index in 0..999999, found -1", -1, good),
            ("expected an index in 0..999999, found 1000000", 1_000_000, good),
        ):
            with pytest.raises(UserError, match=message):
                writer.add(index, picture, picture, labels)
        with pytest.raises(UserError, match="nothing to write"):
            writer.finish()
        writer.add(0, picture, picture, good)
        with pytest.raises(UserError, match="item 1: expected the labels"):
            writer.add(1, picture, picture, good | {"eps": np.zeros(6)})
        with pytest.raises(UserError, match=r"expected the pictures \['images', 'faces'\] of earlier items"):
            writer.add(1, picture, picture, good, picture)
        assert writer.done == {0}


def test_unwritable_places(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "set", tmp_path / "file"):
        with pytest.raises(UserError, match="cannot write there|cannot be written"):
            make_writer(path)


def test_a_folder_that_was_only_looked_into_is_empty(tmp_path):
    """Systems leave files of theirs in it, which finishing a set leaves alone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/.DS_Store").write_bytes(b"")
    assert len(open_dataset(make_dataset(tmp_path / "a", 2))) == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "b/letter.txt").write_bytes(b"")
    with pytest.raises(UserError, match="b: not empty and not a data set begun here"):
        make_dataset(tmp_path / "b", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_share_a_set(tmp_path, kind):
    """What a worker process gets is small, has no open file, and reads the same."""
    dataset = open_dataset(make_dataset(tmp_path / kind, 3))
    pictures = pickle.loads(pickle.dumps(dataset.pictures))
    assert pictures.read("faces", 2) == dataset.read_face(2)


def rewrite_manifest(path: Path, change) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("manifest_sha256", None)  # as in sets that people made on their own
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_no_changed_byte_of_a_manifest_is_believed(tmp_path):
    make_dataset(tmp_path / "a", 4)
    path, rng = tmp_path / "a/manifest.json", random.Random(0)
    sound = path.read_bytes()
    for place in rng.sample(range(len(sound)), k=200):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ rng.choice((1, 2, 4, 8))]) + sound[place + 1 :])
        try:
            open_dataset(tmp_path / "a")
        except UserError as error:
            assert "manifest.json" in str(error) and "\n" not in str(error)
        else:  # between the words of the JSON
            assert json.loads(path.read_text()) == json.loads(sound)


@pytest.mark.parametrize(
    "message, change",
    [
        ("'num': expected int, found nothing", lambda m: m.pop("num")),
        ("'image_size': expected int, found str", lambda m: m.update(image_size="16")),
        ("'files': expected dict, found list", lambda m: m.update(files=[])),
        ("expected format 1, found 2", lambda m: m.update(format=2)),
    ],
)
def test_odd_manifests(tmp_path, message, change):
    path = make_dataset(tmp_path / "a", 2)
    rewrite_manifest(path, change)
    with pytest.raises(UserError, match=message):
        open_dataset(path)


def test_damaged_json_and_labels(tmp_path):
    path = make_dataset(tmp_path / "a", 2)
    text = (path / "manifest.json").read_text()
    for damage, message in (
        (text[:-20], "not valid JSON"),
        ("[]", "expected a mapping, found list"),
        (text.replace('"images/000000.png"', '"images/000001.png"'), "'images/000001.png' is listed twice"),
    ):
        (path / "manifest.json").write_text(damage)
        with pytest.raises(UserError, match=message):
            open_dataset(path)
    (path / "manifest.json").write_text(text)
    (path / "labels.npz").write_bytes((path / "labels.npz").read_bytes()[:500])
    with pytest.raises(UserError, match="labels.npz is not a readable archive"):
        open_dataset(path)
    np.savez(path / "labels.npz", camera=np.array([{"a": 1}], dtype=object))  # would be a pickle
    with pytest.raises(UserError, match="labels.npz is not a readable archive"):
        open_dataset(path)
    (path / "labels.npz").unlink()
    with pytest.raises(UserError, match="labels.npz: cannot be read: No such file"):
        open_dataset(path)


def test_odd_zips(tmp_path):
    folder, stored = make_dataset(tmp_path / "a", 3), make_dataset(tmp_path / "b.zip", 3)
    cut = tmp_path / "cut.zip"
    for size in (0.05, 0.5, 0.9, 0.95, 0.98, 0.999):  # at some of these the file ends with labels.npz, a zip itself
        cut.write_bytes(stored.read_bytes()[: int(size * stored.stat().st_size)])
        with pytest.raises(UserError, match="cut.zip: not a complete zip file; was it cut short"):
            open_dataset(cut)
    for name, compression, prefix, message in (
        ("deflated.zip", zipfile.ZIP_DEFLATED, "", "is compressed or encrypted; expected an uncompressed zip"),
        ("nested.zip", zipfile.ZIP_STORED, "a/", "not at the top level; zip the folder's contents"),
        ("plain.zip", zipfile.ZIP_STORED, "", None),
    ):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, prefix + str(file.relative_to(folder)))  # folders too, as zip -r writes them
        if message:
            with pytest.raises(UserError, match=message):
                open_dataset(tmp_path / name)
    assert open_dataset(tmp_path / "plain.zip").checksum == open_dataset(stored).checksum
    assert open_dataset(tmp_path / "plain.zip").read_mask(2) == open_dataset(stored).read_mask(2)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such data set"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no manifest.json: not a data set, or its making was not finished"):
        open_dataset(tmp_path)
    dataset = open_dataset(make_dataset(tmp_path / "a", 2, masks=False))
    with pytest.raises(UserError, match=r"masks/000001.png: cannot be read: No such file"):
        dataset.read_mask(1)
    zipped = open_dataset(make_dataset(tmp_path / "a.zip", 2, masks=False))
    with pytest.raises(UserError, match="no file masks/000001.png inside"):
        zipped.read_mask(1)


def test_the_writer_is_part_of_storage():
    assert DatasetWriter.__module__ == "training.data.writer"


def test_a_zip_whose_directory_is_damaged(tmp_path):
    """A name that is no UTF-8 any more: one line, as for every other damage."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\u00e4.png", b"")
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\xc3\xa4")] = 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match="a.zip: not a complete zip file"):
        open_dataset(path)
