"""`synthesize --renderer cycles`: with a program in Blender's place, without Blender, and with it where it is."""

import ast
import base64
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.test_synthesize import files_in, run
from torch_utils.misc import CliParser, UserError
from training.data.checks import check_dataset
from training.data.cycles import environment, renderer
from training.data.layout import LABEL_SHAPES
from training.data.maps import DEPTH_STEP
from training.data.picture_checks import check_pictures
from training.data.storage import open_dataset
from training.data.synthetic.portrait import make_portrait

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def fake(monkeypatch, tmp_path) -> dict:
    """Settings of a run whose Blender is fake_blender.py, with two panoramas."""
    home = tmp_path / "home"
    (home / "panoramas").mkdir(parents=True)
    for name in ("a.exr", "b.exr"):
        (home / "panoramas" / name).write_bytes(name.encode())
    monkeypatch.setattr(renderer, "_SCRIPT", Path(__file__).with_name("fake_blender.py"))
    monkeypatch.setattr(renderer, "environment_python", lambda home: Path(sys.executable))
    monkeypatch.setattr(renderer, "blender_version", lambda home: "bpy 0.0")
    return {"renderer": "cycles", "blender": home, "workers": 0}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_set_of_the_drawn_people(fake, tmp_path):
    """Labels are those of the drawn set; pictures, masks and maps are what Blender left, exactly white behind."""
    run(tmp_path / "set", num=2, maps=True, **fake)
    dataset = open_dataset(tmp_path / "set")
    assert "--renderer cycles --samples 4 (bpy 0.0, 2 panoramas " in dataset.manifest["made_by"]
    for index in range(2):
        drawn = make_portrait(5, index, size=32, face_size=16)
        for name in LABEL_SHAPES | {"landmarks": (), "eps": ()}:
            np.testing.assert_array_equal(dataset.labels[name][index], drawn.labels[name])
        image, mask = pixels(dataset.read_image(index)), pixels(dataset.read_mask(index))
        assert (image[:4] == 255).all() and (image[4:, 3:-3] == 100 + index).all()
        assert mask[3].max() == 0 and (mask[4, 3:-3] == 9).all() and (mask[5:, 3:-3] == 255).all()
        depth = pixels(dataset.read_depth(index))
        np.testing.assert_array_equal(depth > 0, mask > 0)  # the rim has its neighbours' depth
        assert set(np.unique(depth)) == {0, round(2.0 / DEPTH_STEP)}
    findings = check_dataset(dataset)
    check_pictures(dataset, findings)
    assert [error for error in findings.errors if "masks/" not in error] == []  # its mask shows no person


def test_stopped_and_gone_on(fake, tmp_path, monkeypatch):
    """After a stop the same command goes on, and the files are those of a run in one go."""
    portrait, done = renderer._portrait, []

    def once(*args):
        if done:
            raise KeyboardInterrupt
        done.append(args)
        return portrait(*args)

    run(tmp_path / "whole" / "set", num=2, **fake)
    monkeypatch.setattr(renderer, "_portrait", once)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts" / "set", num=2, **fake)
    monkeypatch.setattr(renderer, "_portrait", portrait)
    run(tmp_path / "parts" / "set", num=2, **fake)
    assert files_in(tmp_path / "parts") == files_in(tmp_path / "whole")
    with pytest.raises(UserError, match="made with other settings: 'made_by'"):
        run(tmp_path / "parts" / "set", num=2, **fake | {"samples": 5})


@pytest.mark.parametrize(
    "samples, message",
    [
        (13, "^Blender: 000000: RuntimeError: no luck$"),
        (14, "^Blender ended at 000000 .*; its last words: out of cheese$"),
        (0, "--samples: expected 1 to 4096, found 0"),
    ],
)
def test_what_goes_wrong_is_one_line(fake, tmp_path, samples, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "set", num=1, samples=samples, **fake)


def test_without_blender(tmp_path):
    with pytest.raises(
        UserError, match="--renderer cycles: no Blender in .*home; make it once by 'python -m training.d"
    ):
        run(tmp_path / "set", renderer="cycles", blender=tmp_path / "home")
    assert not (tmp_path / "set").exists()


def test_maps_are_filled_at_the_rim_only():
    depth, normals = np.zeros((3, 5)), np.zeros((3, 5, 3))
    depth[1, 1], depth[1, 3], normals[1, 1], normals[1, 3] = 2.0, 3.0, (0, 0, 1), (1, 0, 0)
    somebody = np.zeros((3, 5), bool)
    somebody[1, :4] = True  # the hit at column 3 is kept, column 0 takes column 1's
    filled, turned = renderer.fill_rim(depth, normals, somebody)
    assert filled[1, [0, 1, 3]].tolist() == [2.0, 2.0, 3.0] and filled[1, 4] == 0 and not filled[[0, 2]].any()
    assert turned[1, 0].tolist() == [0, 0, 1] and filled[1, 2] in (2.0, 3.0)
    nothing, _ = renderer.fill_rim(np.zeros((2, 2)), np.zeros((2, 2, 3)), np.ones((2, 2), bool))
    assert not nothing.any()


# ---- setting it up ---------------------------------------------------------------------------------------------------


def test_panoramas_of_the_package(tmp_path):
    """Modules with a picture in base64; what is no portrait's light is left out."""
    archive = tmp_path / "a.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("hdri/park.exr.js", "hdri/night.exr.js", "hdri/park.exr.d.ts", "fonts/inter.js"):
            data = b'export default "data:image/exr;base64,' + base64.b64encode(name.encode()) + b'"'
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    environment.unpack_panoramas(archive, tmp_path / "home" / "panoramas")
    assert files_in(tmp_path / "home") == {"panoramas/park.exr": b"hdri/park.exr.js"}


def set_up(*arguments: str) -> None:
    parser = CliParser(prog="blender")
    environment.add_arguments(parser)
    environment.run(parser.parse_args(list(arguments)))


def test_pythons_that_blender_has_no_module_for(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "BPY", {"2.7": "bpy"})
    with pytest.raises(UserError, match=r"--python .*: expected Python 2.7, found 3\.\d+"):
        set_up("--home", str(tmp_path / "home"), "--python", sys.executable)
    with pytest.raises(UserError, match="--python: nowhere/python cannot be run: No such file"):
        set_up("--home", str(tmp_path / "home"), "--python", "nowhere/python")
    with pytest.raises(UserError, match="no python2.7 here, which Blender's module needs; name one with --python"):
        set_up("--home", str(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_blender_and_the_project_know_each_other_by_files_only():
    """bpy is GPL-3: it and we are two programs."""
    ours = [
        path
        for package in ("torch_utils", "networks", "inference", "training")
        for path in (ROOT / package).rglob("*.py")
    ]
    for path in [*ours, *(ROOT / "blender").glob("*.py")]:
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
        foreign = (
            {"training", "networks", "inference", "torch_utils"}
            if path.parent.name == "blender"
            else {"bpy", "blender"}
        )
        assert not names & foreign, path


# ---- with it ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not environment.environment_python(ROOT / environment.HOME).is_file(),
    reason="no Blender in .venv-blender (python -m training.data blender): nothing is rendered",
)
def test_blender_renders_the_same_twice(tmp_path):
    for name in ("a", "b"):
        settings = {"renderer": "cycles", "blender": ROOT / environment.HOME, "samples": 1, "maps": True}
        run(tmp_path / name, num=1, size=32, workers=0, **settings)
    assert open_dataset(tmp_path / "a").checksum == open_dataset(tmp_path / "b").checksum
    dataset = open_dataset(tmp_path / "a")
    findings = check_dataset(dataset)
    check_pictures(dataset, findings, dataset.labels["landmarks"])
    assert findings.errors == []
    drawn = make_portrait(5, 0, size=32, face_size=16, maps=True)
    ours, theirs = (pixels(each).astype(float) for each in (dataset.read_depth(0), drawn.maps["depth"]))
    both = (ours > 0) & (theirs > 0)
    assert both.sum() > 0.9 * (theirs > 0).sum()
    assert np.median(np.abs(ours - theirs)[both]) < 60  # 6 mm: hair and cloth are other surfaces, skin is the same
