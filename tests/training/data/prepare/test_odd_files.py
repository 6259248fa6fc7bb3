"""Folders of photos as strangers have them: every way to save them ends in the same set, or in one line."""

import io
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.training.data.prepare.runs import prepare, read_report
from torch_utils.misc import UserError
from training.data import inspect_set
from training.data.storage import open_dataset

# How a camera that was held in each way stores an upright picture.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def oriented(orientation: int):
    def store(picture: Image.Image, path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.transpose(STORED[orientation]).save(path, exif=exif)

    return store


# What is done to photo (RGB) and mask (L) when they are saved.
SAVED = {
    **{f"exif{o}": (oriented(o), oriented(o)) for o in STORED},
    "exif_of_the_photo_alone": (oriented(6), lambda mask, path: mask.save(path)),
    "16_bit": (None, lambda mask, path: Image.fromarray(np.asarray(mask).astype(np.uint16) * 257).save(path)),
    "opaque": (lambda photo, path: photo.convert("RGBA").save(path), lambda mask, path: mask.convert("RGB").save(path)),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, prepared):
    """A set with a copy of one photo for every way to save it, among what systems leave in folders."""
    root = tmp_path_factory.mktemp("odd")
    names = [*SAVED, "windows", "bom", "upright", os.fsdecode("照片".encode("gbk"))]
    for name in names:
        for folder, suffix in (("images", "png"), ("masks", "png"), ("face", "mat"), ("face", "txt")):
            target = root / folder / f"{name}.{suffix}"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(prepared / folder / f"p1.{suffix}", target)
            (target.parent / f"._{target.name}").write_bytes(b"of a Mac")
    for name, (save_photo, save_mask) in SAVED.items():
        for folder, save in (("images", save_photo), ("masks", save_mask)):
            path = root / folder / f"{name}.png"
            if save is not None:
                with Image.open(path) as picture:
                    save(picture.copy(), path)
    for clutter in ("images/Thumbs.db", "images/__MACOSX/._a.png", "masks/.DS_Store"):
        (root / clutter).parent.mkdir(exist_ok=True)
        (root / clutter).write_bytes(b"")
    (root / "face/bom.txt").write_bytes(b"\xef\xbb\xbf" + (root / "face/bom.txt").read_bytes())
    table = dict(np.load(prepared / "fits.npz"))
    shown = [f"C:\\Users\\anna\\{name}.png" if name == "windows" else f"photos/{name}.png" for name in names[:-1]]
    rows = {key: np.repeat(column[1:2], len(shown), 0) for key, column in table.items()}
    np.savez(root / "fits.npz", **rows | {"imgname": np.array(shown)})
    return root, {row["photo"].removesuffix(".png"): row for row in prepare(root)}


@pytest.mark.parametrize("name", [*SAVED, "windows", "bom", "upright"])
def test_the_same_item_however_it_was_saved(saved, prepared, name):
    root, report = saved
    assert report[name]["result"] == "ok", report[name]
    found, expected = open_dataset(root / "out"), open_dataset(prepared / "out")
    row = found.pictures.names.tolist().index(f"{report[name]['item']}.png")
    assert found.read_image(row) == expected.read_image(1) and found.read_mask(row) == expected.read_mask(1)


def test_names_that_are_no_text_are_reported(saved):
    """And nothing that is no photo is."""
    (name,) = saved[1].keys() - {*SAVED, "windows", "bom", "upright"}
    assert name == "\\xd5\\xd5\u01ac" and saved[1][name]["result"] == "SMPL fit"
    assert f"expected one SMPL fit of '{name}', found none" in saved[1][name]["why"]


def inspect(path, *options: str) -> None:
    parser = inspect_set.argparse.ArgumentParser()
    inspect_set.add_arguments(parser)
    inspect_set.run(parser.parse_args([str(path), *options]))


def test_inspect_calls_it_sound(saved, capsys):
    inspect(saved[0] / "out")
    printed = capsys.readouterr()
    assert "labels projected with: body open-1, face open-1\n" in printed.out and ": sound" in printed.out
    assert all("is the same picture as" in line for line in printed.err.splitlines() if "warning" in line)


def test_masks_the_wrong_way_round(inputs, prepared):
    change(inputs, "masks", lambda mask: 255 - mask)
    assert [row["result"] for row in prepare(inputs, "--mask_invert")] == ["ok"] * 3
    found, expected = open_dataset(inputs / "out"), open_dataset(prepared / "out")
    assert all(found.read_image(row) == expected.read_image(row) for row in range(3))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).astype(float)


def is_magenta(image: np.ndarray) -> np.ndarray:
    return (image[..., 1] < 64) & (image[..., [0, 2]] > 192).all(-1)


def change(inputs, folder: str, edit) -> None:
    for path in (inputs / folder).iterdir():
        Image.fromarray(edit(np.array(Image.open(path)))).save(path)


def test_people_cut_off_are_continued_on_request(inputs, photos, capsys):
    """Photos that end just below the chin are skipped, or continued with the share that was made up in the labels.

    How much that is, is measured in the same photos with everything below painted magenta.
    """
    end = round(max(photo.landmarks[8, 1] for photo in photos.values()) + 60)

    def paint(photo: np.ndarray) -> np.ndarray:
        photo[end:] = (255, 0, 255)
        return photo

    def straight_on(mask: np.ndarray) -> np.ndarray:
        mask[end:] = mask[end - 1]
        return mask

    change(inputs, "images", paint)
    change(inputs, "masks", straight_on)
    prepare(inputs)
    shutil.move(inputs / "out", inputs / "painted")
    change(inputs, "images", lambda photo: photo[:end])
    change(inputs, "masks", lambda mask: mask[:end])
    with pytest.raises(UserError, match="expected photos that can be used, found none"):
        prepare(inputs)
    why = [row["why"] for row in read_report(inputs / "out.report.csv")]
    assert all(re.search(r"portrait: \d+% of its side beyond the bottom edge; --fill 0\.\d+ continues", w) for w in why)
    shutil.rmtree(inputs / "out")
    assert [row["result"] for row in prepare(inputs, "--fill", "0.5")] == ["ok"] * 3
    found, painted = open_dataset(inputs / "out"), open_dataset(inputs / "painted")
    for row in range(3):
        image, expected = pixels(found.read_image(row)), pixels(painted.read_image(row))
        magenta = is_magenta(expected)
        assert found.labels["filled"][row] == pytest.approx(magenta.mean(), abs=0.004)  # a row of pixels
        kept = np.arange(256) < np.flatnonzero(magenta.any(1))[0] - 4
        np.testing.assert_allclose(image[kept], expected[kept], atol=1)
        assert not is_magenta(image).any()  # continued in its own colours
    capsys.readouterr()
    inspect(inputs / "out")
    share = found.labels["filled"].mean()
    assert f"made up beyond the photo's edge: in 3 of 3 images, {share:.1%} of the picture" in capsys.readouterr().out


def test_a_face_cut_off_is_not_made_up(inputs, photos):
    """The photos begin below the eyes."""
    start = round(photos["p1"].landmarks[28, 1])
    change(inputs, "images", lambda photo: photo[start:])
    change(inputs, "masks", lambda mask: mask[start:])
    table = dict(np.load(inputs / "fits.npz"))
    np.savez(inputs / "fits.npz", **table | {"center": table["center"] - [0, start]})
    for name, photo in photos.items():
        np.savetxt(inputs / f"face/{name}.txt", photo.five() - [0, start])
    with pytest.raises(UserError, match="found none"):
        prepare(inputs, "--fill", "1")
    row = read_report(inputs / "out.report.csv")[1]
    assert row["result"] == "cut off" and re.search(r"the top edge, with \d+% of the face's landmarks", row["why"])
