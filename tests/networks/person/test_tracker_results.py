"""Result files of trackers in their programs' layouts: the same people come out of all, and whom to take is clear."""

import os
import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from networks.person.tracking import to_pixels
from networks.person.tracking_files import SmplFits
from tests.joblib_files import joblib_dump
from tests.networks.person.tracker_results import COUNTED, PROGRAMS, WITHOUT_CAMERA, Tracked, tracks
from torch_utils.misc import UserError

SINGLE = 2e-6  # files hold float32
PHOTO_SIZE = (512, 1024)


def make_person(seed: int, photo: str, person: int = 1, side: float = 900.0) -> Tracked:
    random = np.random.default_rng(seed)
    pose = 0.3 * random.standard_normal(72)
    pose[66:] = 0  # hands, which SMPL-X has others of
    camera = np.array([0.9, *random.uniform(-0.3, 0.3, 2)])
    return Tracked(photo, pose, random.standard_normal(10), camera, np.array([250.0, 480.0]) + seed, side, person)


def make_people() -> list[Tracked]:
    return [make_person(seed, f"{frame:06d}") for seed, frame in enumerate((1, 2, 4))]  # of 3 nobody was found


def open_fits(written, **options) -> SmplFits:
    path, own = written
    fits = SmplFits(path, **own, **options)
    fits.name_frames({i: f"{i + 1:06d}" for i in range(4)})
    return fits


@pytest.mark.parametrize("program", PROGRAMS)
def test_everybody_comes_back(tmp_path, program):
    people = make_people()
    fits = open_fits(PROGRAMS[program](people, tmp_path))
    assert fits.names == ["000001", "000002", "000004"]
    fits.check(f"{i:06d}" for i in range(1, 5))
    for one in people:
        fit = fits.fit(one.photo, PHOTO_SIZE)
        expected = Rotation.from_rotvec(one.pose.reshape(24, 3)).as_matrix()
        np.testing.assert_allclose(fit.rotations, expected, atol=SINGLE)
        np.testing.assert_allclose(fit.betas, 0 if program == "smplifyx" else one.betas, atol=SINGLE)
        if program in WITHOUT_CAMERA:
            assert fit.camera is None
            continue
        points = np.array([[0.0, 0.0, 1.0], [0.3, -0.8, 0.2]])
        pixels = one.centre + one.side / 2 * one.camera[0] * (points[:, :2] + one.camera[1:])  # SPIN's camera
        np.testing.assert_allclose(to_pixels(fit.camera, points), pixels, atol=1e-3)  # of 1000, by float32 numbers
    with pytest.raises(UserError, match="expected one SMPL fit of '000003', found none"):
        fits.fit("000003")


@pytest.mark.parametrize("program", [name for name in PROGRAMS if name != "spin_static_fits"])
def test_one_of_several_people_is_chosen(tmp_path, program):
    small, large = make_person(0, "000002", 1, 500.0), make_person(1, "000002", 2, 900.0)
    people = [make_person(3, "000001", 2), small, large]
    if program == "smplifyx" or program.startswith(("spin", "eft", "body", "frank", "pare_photos", "romp_photos")):
        names = ("0", "1")  # those without names are counted, photo by photo
    else:
        names = ("1", "2")
    if program == "smplifyx":
        names = ("000", "001")
    (tmp_path / "a").mkdir()
    written = PROGRAMS[program](people, tmp_path / "a")
    with pytest.raises(UserError, match=r"1 of 2 photos have several people \(the first: '000002'\); choose"):
        open_fits(written).check(["000001", "000002"])
    for name, one in zip(names, (small, large), strict=True):
        fits = open_fits(written, person=name)
        fits.check(["000001", "000002"])
        expected = Rotation.from_rotvec(one.pose[:3]).as_matrix()
        np.testing.assert_allclose(fits.fit("000002", PHOTO_SIZE).rotations[0], expected, atol=SINGLE)
    with pytest.raises(UserError, match=f"--person 77: expected one of those in .*{names[0]}"):
        open_fits(written, person="77")
    fits = open_fits(written, person="largest")
    if program in WITHOUT_CAMERA:
        with pytest.raises(UserError, match="--person largest: expected fits that say where people are"):
            fits.fit("000002", PHOTO_SIZE)
        return
    expected = Rotation.from_rotvec(large.pose[:3]).as_matrix()
    np.testing.assert_allclose(fits.fit("000002", PHOTO_SIZE).rotations[0], expected, atol=SINGLE)


@pytest.mark.parametrize("program", COUNTED)
def test_frames_that_are_counted_need_names_for_all(tmp_path, program):
    path, options = PROGRAMS[program](make_people(), tmp_path)
    fits = SmplFits(path, **options)
    assert fits.counted == [0, 1, 3]
    with pytest.raises(UserError, match=r"its fits are counted and go up to 3 \(from 0\), but there are only 2 names"):
        fits.name_frames({0: "a", 1: "b"})
    fits.name_frames(dict(enumerate("abcd")))
    assert fits.names == ["a", "b", "d"] and fits.counted == []


def test_bodymocap_without_its_crop_has_a_margin_around_the_detection(tmp_path):
    record = {"parm_pose": np.tile(np.eye(3), (24, 1, 1)), "parm_shape": np.zeros(10), "parm_cam": [1.0, 0.1, 0.2]}
    path = joblib_dump([record | {"imageName": "a.jpg", "bbox_xyxy": [100, 200, 150, 300]}], tmp_path / "a.pkl")
    camera = SmplFits(path).fit("a").camera
    assert camera.pixels_per_metre == pytest.approx(60) and camera.centre.tolist() == [125, 250]  # 1.2 * 100 / 2
    assert camera.shift.tolist() == [0.1, 0.2]


def test_rows_of_spins_training_sets_without_a_fit_are_none(tmp_path):
    path, _ = PROGRAMS["spin_training"](make_people(), tmp_path)
    table = dict(np.load(path))
    np.savez(path, **table | {"has_smpl": np.array([1, 0, 1])})
    assert SmplFits(path).names == ["000001", "000004"]


def test_the_code_of_a_pose_is_no_pose(tmp_path):
    record = {"global_orient": np.zeros((1, 3)), "body_pose": np.zeros((1, 32)), "jaw_pose": np.zeros((1, 3))}
    (tmp_path / "a").mkdir()
    joblib_dump(record, tmp_path / "a/000.pkl")
    with pytest.raises(UserError, match="'body_pose': 32 numbers are VPoser's code of a pose; expected its angles"):
        SmplFits(tmp_path).fit("a")


def test_a_wrong_file_is_found_out_once_with_the_names_it_holds(tmp_path):
    path, _ = PROGRAMS["eft_json"]([make_person(i, f"other{i}") for i in range(6)], tmp_path)
    message = "expected fits of 'a', 'b', found those of 'other0', 'other1', 'other2', 'other3' ... (6 in all)"
    with pytest.raises(UserError, match=re.escape(message)):
        SmplFits(path).check(["a", "b"])
    with pytest.raises(UserError, match="expected SMPL fits, found a file of: f, v_template"):
        SmplFits(joblib_dump({"v_template": np.zeros((9, 3)), "f": np.zeros((1, 3))}, tmp_path / "smpl.pkl"))


def test_names_for_rows_without(tmp_path):
    people = make_people()
    path, _ = PROGRAMS["spin_evaluation"](people, tmp_path)
    with pytest.raises(UserError, match=r"are counted and go up to 2 \(from 0\), but there are only 0 names"):
        SmplFits(path).name_frames({})
    (tmp_path / "two.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(UserError, match="expected a name for each of the 3 fits of .* that have none, found 2"):
        SmplFits(path, names=tmp_path / "two.txt")
    (tmp_path / "three.txt").write_text("a.jpg\nC:\\photos\\b.jpg\n\nc\n")
    fits = SmplFits(path, names=tmp_path / "three.txt")
    assert fits.names == ["a", "b", "c"] and fits.fit("a").camera is None  # names have no boxes


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil_was_here",)


def test_results_that_would_run_code_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people = tracks(make_people())
    people[1]["joints2d"] = Evil()
    for compress in (False, True):
        path = joblib_dump(people, tmp_path / "vibe_output.pkl", compress=compress)
        with pytest.raises(UserError, match=r"vibe_output\.pkl: refused, the pickle asks for .*system"):
            SmplFits(path)
    np.savez("000001.npz", results={"smpl_thetas": np.zeros((1, 72)), "cam": Evil()})
    with pytest.raises(UserError, match=r"'results': refused, the pickle asks for .*system"):
        SmplFits("000001.npz")
    assert not (tmp_path / "evil_was_here").exists()


def test_a_damaged_file_in_a_folder_is_an_error_of_its_photo_alone(tmp_path):
    path, _ = PROGRAMS["romp_photos"](make_people(), tmp_path)
    (path / "000002.npz").write_bytes(b"PK\x03\x04rest")
    (path / "._000001.npz").write_bytes(b"what macOS leaves")
    fits = SmplFits(path)
    assert fits.names == ["000001", "000002", "000004"] and fits.fit("000001").betas.shape == (10,)
    with pytest.raises(UserError, match="not a readable .npz archive"):
        fits.fit("000002")
