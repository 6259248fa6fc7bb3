"""Photos, tracking and options that cannot be used: reported, and the others prepared."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from tests.training.data.prepare.runs import prepare, read_report
from torch_utils.misc import UserError
from training.data.storage import open_dataset


def edit_mat(path: Path, photo, **changes) -> None:
    savemat(path, {"id": photo.person.z_id[None], "exp": photo.expression[None], "angle": photo.angle[None],
                   "trans": photo.translation[None]} | changes)  # fmt: skip


def turn_pose(pose: np.ndarray, before=(0, 0, 0), after=(0, 0, 0)) -> None:
    """Turns the whole body, about the camera's axes (before) or its own (after)."""
    turn = Rotation.from_rotvec
    pose[:3] = (turn(before) * turn(pose[:3]) * turn(after)).as_rotvec()


def move_up(row: dict, files: dict, photo, distance: float) -> None:
    """The photo's upper edge comes to cut the head off, or the head leaves the photo."""
    row["center"][1] -= distance
    np.savetxt(files["txt"], photo.five() - [0, distance])


def move_mask_up(files: dict, distance: int) -> None:
    mask = np.asarray(Image.open(files["mask"]))
    Image.fromarray(np.roll(mask, -distance, 0)).save(files["mask"])


def change_mask(files: dict, change) -> None:
    """The mask becomes what ``change`` makes of photo and mask."""
    photo, mask = (Image.open(files[kind]).convert(mode) for kind, mode in (("image", "RGB"), ("mask", "L")))
    change(photo, mask).save(files["mask"])


# What happens to a photo's files or its row of fits; the kind of reason and the words expected.
SPOILED = {
    "no_mask": (lambda row, files, photo: files["mask"].unlink(), "no mask", "no mask file of 'no_mask'"),
    "no_face": (lambda row, files, photo: files["mat"].unlink(), "no face", "no face file"),
    "no_points": (lambda row, files, photo: files["txt"].unlink(), "no landmarks", "no landmarks file"),
    "no_fit": (
        lambda row, files, photo: row.update(imgname="other.png"),
        "SMPL fit", "expected one SMPL fit of 'no_fit', found none",
    ),
    "nan_fit": (
        lambda row, files, photo: row["cam"].fill(np.nan), "SMPL fit", "'nan_fit': 'cam': expected finite numbers"
    ),
    "nan_face": (
        lambda row, files, photo: edit_mat(files["mat"], photo, exp=np.full((1, 64), np.nan)),
        "face", "nan_face.mat: 'exp': expected finite numbers",
    ),
    "degrees": (
        lambda row, files, photo: edit_mat(files["mat"], photo, angle=np.degrees(photo.angle)[None] + 5),
        "face", "degrees.mat: 'angle': expected radians within +-pi",
    ),
    "half": (
        lambda row, files, photo: files["image"].write_bytes(files["image"].read_bytes()[:5000]),
        "photo", "half.png: damaged, cut short or no picture",
    ),
    "small_mask": (
        lambda row, files, photo: Image.new("L", (256, 512), 255).save(files["mask"]),
        "mask", "small_mask.png: expected 512x1024 pixels as the photo, found 256x512",
    ),
    "empty_mask": (
        lambda row, files, photo: Image.new("L", (512, 1024), 0).save(files["mask"]),
        "mask", "expected a person in the portrait, found a mask that covers 0.0% of it",
    ),
    "cut_off": (
        lambda row, files, photo: (move_up(row, files, photo, 90), move_mask_up(files, 90)),
        "cut off", "of its side beyond the top edge; --fill 0.",
    ),
    "photo_as_mask": (
        lambda row, files, photo: change_mask(files, lambda image, mask: image),
        "mask", "photo_as_mask.png: expected a mask in grey or alpha, or parsing in the colours of SHHQ or PASCAL VOC",
    ),
    "grey_photo_as_mask": (
        lambda row, files, photo: change_mask(files, lambda image, mask: image.convert("L")),
        "mask", ": a photo?",
    ),
    "inverted_mask": (
        lambda row, files, photo: change_mask(files, lambda image, mask: ImageChops.invert(mask)),
        "mask", "expected the face in the mask, found 0% of its landmarks there; is it inverted? (--mask_invert)",
    ),
    "white_mask": (
        lambda row, files, photo: change_mask(files, lambda image, mask: Image.new("L", mask.size, 255)),
        "mask", "expected some background in the portrait, found a mask that covers 100% of it",
    ),
    "outside": (
        lambda row, files, photo: move_up(row, files, photo, 900),
        "outside the photo", "expected head and shoulders inside the photo, found them at",
    ),
    "tiny": (
        lambda row, files, photo: row.update(scale=0.4),
        "too small", "the portrait is 20 pixels wide, expected 64 or more",
    ),
    "behind": (
        lambda row, files, photo: turn_pose(row["pose"], after=(0, np.pi, 0)),
        "body turned away", "the body is turned away by 1",
    ),
    "x_left_y_up": (
        lambda row, files, photo: turn_pose(row["pose"], before=(0, 0, np.pi)),
        "body leans", "in other axes it would be upright and in front: expected the trackers' x right, y down, z away",
    ),
    "y_up": (
        lambda row, files, photo: turn_pose(row["pose"], before=(np.pi, 0, 0)),
        "body turned away", "in other axes it would be upright and in front: expected the trackers' x right, y down",
    ),
    "profile": (
        lambda row, files, photo: edit_mat(files["mat"], photo, angle=np.array([[0.0, 1.3, 0.0]])),
        "face turned away", "the face is turned away by 7",
    ),
    "other_order": (
        lambda row, files, photo: np.savetxt(files["txt"], photo.five()[::-1]),
        "landmarks", "the five landmarks disagree",
    ),
    "elsewhere": (
        lambda row, files, photo: np.savetxt(files["txt"], photo.five() + [0, 200]),
        "face elsewhere", "of the portrait's side apart",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory, prepared, photos):
    """One run over a sound photo and a copy of it for every way to spoil it; returns its folder and report by name."""
    root, photo = tmp_path_factory.mktemp("spoiled"), photos["p1"]
    table = dict(np.load(prepared / "fits.npz"))
    fits = []
    for name in ("sound", *SPOILED):
        files = {"image": root / f"images/{name}.png", "mask": root / f"masks/{name}.png"}
        files |= {kind: root / f"face/{name}.{kind}" for kind in ("mat", "txt")}
        for path in files.values():
            path.parent.mkdir(exist_ok=True)
            shutil.copy(prepared / path.parent.name / f"p1{path.suffix}", path)
        row = {key: column[1].copy() for key, column in table.items()} | {"imgname": f"{name}.jpg"}
        if name in SPOILED:
            SPOILED[name][0](row, files, photo)
        fits.append(row)
    np.savez(root / "fits.npz", **{key: np.stack([row[key] for row in fits]) for key in table})
    return root, {Path(row["photo"]).stem: row for row in prepare(root)}


@pytest.mark.parametrize("case", SPOILED)
def test_bad_photos_are_reported(spoiled, case):
    _, kind, message = SPOILED[case]
    row = spoiled[1][case]
    assert row["result"] == kind and message in row["why"], row


def test_a_person_from_behind_is_not_taken_for_other_axes(spoiled):
    assert spoiled[1]["behind"]["why"].endswith(" degrees")


def test_the_sound_photo_among_bad_ones_is_prepared(spoiled, prepared):
    root, report = spoiled
    assert report["sound"]["result"] == "ok"
    good, found = open_dataset(prepared / "out"), open_dataset(root / "out")
    assert len(found) == 1
    assert found.read_image(0) == good.read_image(1) and found.read_face(0) == good.read_face(1)


def test_names_that_occur_twice(inputs):
    table = dict(np.load(inputs / "fits.npz"))
    np.savez(inputs / "fits.npz", **table | {"imgname": np.array(["p0", "p0", "p2"])})
    Image.open(inputs / "images/p2.png").save(inputs / "images/p2.jpg")
    for path in (inputs / "face/p1.mat", inputs / "face/p1.txt"):
        path.unlink()
    with pytest.raises(UserError, match="1 of 3 photos have several people .*'p0'.*; choose by --person: largest, or"):
        prepare(inputs)
    (inputs / "masks/p0.png").unlink()
    with pytest.raises(UserError, match="expected photos that can be used, found none"):
        prepare(inputs, "--person", "largest")
    report = read_report(inputs / "out.report.csv")
    assert [row["result"] for row in report] == ["no mask", "no face", "name twice", "name twice"]
    assert "found p2.jpg and p2.png" in report[2]["why"]


def test_nothing_usable_and_bad_options(inputs):
    for path in (inputs / "face").glob("*.txt"):
        path.write_text("1 2")
    with pytest.raises(UserError, match=r"out: expected photos that can be used, found none; see .*out.report.csv"):
        prepare(inputs)
    assert [row["result"] for row in read_report(inputs / "out.report.csv")] == ["landmarks"] * 3
    for options, message in (
        (["--size", "5"], "--size: expected 16 to 4096, found 5"),
        (["--max_turn", "nan"], "--max_turn: expected 1 to 90, found nan"),
        (["--workers", "-1"], "--workers: expected a whole number from 0 to 256, found -1"),
        (["--fill", "2"], "--fill: expected 0 to 1, found 2"),
        (["--images", str(inputs / "no")], "--images: .*no: no such folder"),
        (["--face", str(inputs / "masks")], "--face: .*masks: expected files .mat, found none"),
        (["--smpl", str(inputs / "no.npz")], "no.npz: no such file of SMPL fits"),
        (["--body_model", str(inputs / "no.pkl")], "no.pkl: no such SMPL file"),
        (["--sr", "nonsense", "--out", f"{inputs}/new"], "--sr: expected a command with"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(inputs, *options)


def test_files_that_are_no_photos_are_said_to_be_passed_over(inputs, capsys):
    for name in ("a.HEIC", "b.heic", "notes.txt", ".DS_Store"):
        (inputs / "images" / name).write_bytes(b"")
    assert [row["result"] for row in prepare(inputs)] == ["ok"] * 3
    assert "images: passed over: 2 .heic, 1 .txt; photos are .png, .jpg" in capsys.readouterr().out


def test_other_settings_do_not_mix(prepared):
    with pytest.raises(UserError, match="made with other settings: 'made_by'"):
        prepare(prepared, "--max_turn", "30")
