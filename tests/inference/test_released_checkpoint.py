"""The importer of released files: names, the doubled warp, buffers, conversion, and files that do not fit."""

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from inference import convert as program
from inference.pipeline import PortraitPipeline
from inference.released_checkpoint import (
    ReleasedGenerator,
    load_array,
    load_config,
    load_labels,
    load_released,
    released_body,
    released_state,
)
from networks.cameras import PORTRAIT_CAMERA
from networks.manifold.generator import GeneratorConfig
from networks.person.body_assets import head_shoulder_vertices
from networks.person.priors import LabelPriors
from networks.saved_model import SavedModel
from tests.inference.released_files import make_released_state, released_names, write_released_file
from tests.networks.golden import MINI_CONFIG, load_golden, requires_golden
from tests.networks.helpers import TINY_CONFIG, make_body, make_priors_dict, max_error
from torch_utils.misc import UserError, run_cli

ROOT = Path(__file__).resolve().parents[2]
LABELS = {
    "camera_pose": "camera_pose_joint_sample", "id_shape": "id_shape_sampler_body", "expression": "expression_body",
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with released.pt, tiny.yaml and the label arrays."""
    folder = tmp_path_factory.mktemp("released")
    write_released_file(folder)
    for name, rows in make_priors_dict().items():
        np.save(folder / f"{LABELS[name]}.npy", rows.double().numpy())
    return folder


def convert(*arguments) -> None:
    """The command line, in this process."""
    program.main([*map(str, arguments)])


def load(files: Path, **options) -> PortraitPipeline:
    return PortraitPipeline.from_checkpoint(files / "released.pt", str(files / "tiny.yaml"), **options)


def load_state(state=None, **options) -> SavedModel:
    return load_released(make_released_state() if state is None else state, TINY_CONFIG, "file.pt", **options)


@requires_golden
def test_the_table_of_names_is_the_released_one():
    assert set(released_names(MINI_CONFIG)) == set(load_golden("mini_state"))


def test_every_weight_arrives_under_our_name():
    state, loaded = make_released_state(), load_state().generator.state_dict()
    ours = set(released_names().values())
    assert ours | {n for n in loaded if n.startswith(("body.", "mean_"))} == set(loaded)
    for released, name in released_names().items():
        if not name.startswith("manifolds.hidden.0."):  # folded: below
            assert torch.equal(loaded[name], state[released]), name


@pytest.mark.parametrize("centre", [(0.0, 0.0, -1.5), (0.0, 0.2, -1.0)])
def test_the_doubled_warp_is_folded(centre):
    """s of our M equals the released one's, fed with warp(warp(x)) - c, wherever the config has c."""
    state, config = make_released_state(), dataclasses.replace(TINY_CONFIG, manifold_centre=centre)
    manifolds = load_released(state, config, "file.pt").generator.manifolds
    points = 0.2 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    x = points * (2 / 0.24) * (2 / 0.24) - torch.tensor(centre)
    for layer in ("network.0", "network.2", "network.4"):
        x = (x @ state[f"sample_net.{layer}.weight"].T + state[f"sample_net.{layer}.bias"]).relu()
    x = x @ state["sample_net.output_layer.weight"].T + state["sample_net.output_layer.bias"]
    assert x.std() > 1
    assert max_error(manifolds(points), x[:, 0]) < 1e-4  # s is near 20: float32 in another order


def test_displacements_count_differently_for_m_and_for_radiance():
    """Oddity 2: s at warp(x) + d, radiance at x + d."""
    generator = load_state().generator
    assert isinstance(generator, ReleasedGenerator)
    neutral, displacement = torch.tensor([[0.1, 0.0, -0.1]]), torch.tensor([[0.5, -1.0, 0.0]])
    searched, looked_up = generator.canonical_points(neutral, displacement)
    assert searched[0].tolist() == pytest.approx([0.16, -0.12, -0.1])
    assert looked_up[0].tolist() == pytest.approx([0.6, -1.0, -0.1])


def test_crossings_are_sorted_by_canonical_distance_from_the_unshifted_camera():
    """Oddity 3: the frontal camera is at (0, 0, 1.895)."""
    generator = load_state().generator
    canonical = torch.tensor([[[[0.0, 0, 0.895088], [0.3, 0, 1.495088]]]])
    camera = torch.full((1, 2), torch.pi / 2)
    distances = generator.sort_distances(canonical, torch.zeros(1, 1, 2), camera, PORTRAIT_CAMERA)
    assert distances.flatten().tolist() == pytest.approx([1.0, 0.5], abs=1e-5)


def check_body(body) -> None:
    expected = make_body()
    for name, value in expected._asdict().items():
        assert np.array_equal(getattr(body, name), value), name


def test_the_buffers_are_the_body():
    check_body(released_body(make_released_state(), "file.pt"))


@pytest.mark.parametrize("prefix", ["renderer.", "renderer.smpl.", "smpl_model."])
def test_buffers_by_other_names(prefix):
    """Whatever module holds them, with pose directions per vertex, and without the tree, which is SMPL's."""
    state = {n.replace("renderer.smpl_model.", prefix): v for n, v in make_released_state().items()}
    state[f"{prefix}faces"] = state.pop(f"{prefix}faces_tensor")
    state[f"{prefix}weights"] = state.pop(f"{prefix}lbs_weights")
    state[f"{prefix}posedirs"] = torch.from_numpy(make_body().posedirs)
    del state[f"{prefix}parents"]
    check_body(released_body(state, "file.pt"))


def test_parameters_and_bfloat16_are_read():
    expected = load_state().generator.state_dict()["body.v_template"]
    for wrap, tolerance in ((torch.nn.Parameter, 0), (torch.Tensor.bfloat16, 0.01)):
        state = {n: wrap(v) if v.is_floating_point() else v for n, v in make_released_state().items()}
        assert max_error(load_state(state).generator.body.v_template, expected) <= tolerance


def test_weights_one_level_down_and_prefixed():
    """As training programs save them: {'generator': ...}, from DataParallel."""
    state = make_released_state()
    prefixed = {f"module.{name}": value for name, value in state.items()}
    assert released_state({"step": 3, "names": ["a"]}) is None
    expected = load_state().generator.state_dict()
    for data in (prefixed, {"generator": state}, {"step": 3, "ema": prefixed}):
        assert set(released_state(data)) == set(state)
        for name, value in load_state(data).generator.state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_truncation_means_are_over_the_labels_or_a_normal():
    priors = LabelPriors.from_dict(make_priors_dict(rows=1), "here")
    generator = load_state(priors=priors).generator
    z_id = priors.id_shape[:, :80].expand(10_000, -1)
    z_noise = torch.randn(10_000, 80, generator=torch.Generator().manual_seed(1))
    expected = generator.style(z_id, z_noise, psi=1.0).radiance.frequency.mean(0)
    assert (
        max_error(generator.mean_frequency, expected) < 0.02
    )  # 10,000 draws of deviation about 0.3: 5 standard errors
    assert max_error(load_state().generator.mean_frequency, expected) > 0.05


def test_a_converted_file_draws_the_same_picture(files, tmp_path):
    convert(files / "released.pt", tmp_path / "own.safetensors", "--config", files / "tiny.yaml")
    own = PortraitPipeline.from_checkpoint(tmp_path / "own.safetensors")
    original = load(files)
    assert own.metadata == original.metadata == {"source": "released checkpoint", "face_model": "basel"}
    for name, value in original.generator.state_dict().items():
        assert torch.equal(own.generator.state_dict()[name], value), name
    motion = {"expression": torch.ones(64), "joint_eulers": 0.2 * torch.ones(6, 3), "camera": (1.5, 1.7)}
    pictures = [pipe.person(seed=3, psi=0.7).render(**motion) for pipe in (original, own)]
    for ours, expected in zip(*pictures, strict=True):
        assert torch.equal(ours, expected)
    assert pictures[0].image.std() > 0.05


def test_convert_with_labels_and_index(files, tmp_path):
    np.save(tmp_path / "index.npy", np.arange(70, 100))
    convert(
        files / "released.pt", tmp_path / "own.safetensors", "--config", files / "tiny.yaml",
        "--labels", files, "--head_shoulder_index", tmp_path / "index.npy",
    )  # fmt: skip
    own = PortraitPipeline.from_checkpoint(tmp_path / "own.safetensors")
    assert own.generator.body.head_shoulder_index.tolist() == list(range(70, 100))
    for name, rows in make_priors_dict().items():
        assert torch.equal(getattr(own.priors, name), rows)
    given = load(files, head_shoulder_index=tmp_path / "index.npy")
    assert given.generator.body.head_shoulder_index.tolist() == list(range(70, 100))
    by_rule = load(files).generator.body.head_shoulder_index
    assert by_rule.tolist() == head_shoulder_vertices(make_body()).tolist()


def test_the_command_line(files, tmp_path):
    """In a process of its own."""
    arguments = [files / "released.pt", tmp_path / "own.safetensors", "--config", files / "tiny.yaml"]
    command = [sys.executable, "-m", "inference.convert", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {tmp_path / 'own.safetensors'}\n", "")
    assert os.listdir(tmp_path) == ["own.safetensors"]


@pytest.mark.parametrize("arguments", [["--confg", "x"], ["--config"], ["b", "c"]])
def test_bad_flags_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_cli(lambda: convert("in.pt", *arguments))
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "--help" in printed.err and printed.err.count("\n") == 1


def test_an_error_on_the_command_line_is_one_line(files, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_cli(lambda: convert(files / "released.pt", tmp_path / "own.safetensors", "--config", "nothing"))
    printed = capsys.readouterr()
    assert printed.err.startswith("error: --config: expected one of SSHQ512_inf, ") and printed.err.count("\n") == 1
    assert (printed.out, os.listdir(tmp_path)) == ("", [])


# ---- files that do not fit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("radiance_net.network.3.layer.bias"), "1 missing: radiance.layers.3.bias"),
        (
            lambda s: s.update({"sample_net.output_layer.weight": torch.zeros(1, 31)}),
            r"1 misshapen: manifolds.output.weight \(expected \[1, 32\], found \[1, 31\]\)",
        ),
        (lambda s: s.update({"sample_net.network.0.weight": torch.zeros(32, 4)}), "misshapen: manifolds.hidden.0.w"),
        (lambda s: s.pop("sample_net.network.0.bias"), "missing: manifolds.hidden.0.bias"),
        (lambda s: s.update({"sample_net.network.0.bias": torch.zeros(31)}), "misshapen: manifolds.hidden.0.bias"),
        (lambda s: s.update({"radiance_net.network.8.layer.bias": torch.zeros(16)}), "1 unexpected: radiance.layers.8"),
        (lambda s: s["smoother.conv_block1.weight"].fill_(torch.nan), "1 not finite: pose_deformation.weight1"),
        (lambda s: s.pop("renderer.smpl_model.shapedirs"), "no array 'shapedirs'"),
        (
            lambda s: s.update({"renderer.smpl_model.J_regressor": torch.zeros(24, 9)}),
            r"'J_regressor' should have shape \[24, 144\], found \[24, 9\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message):
    state = make_released_state()
    change(state)
    with pytest.raises(UserError, match=f"^file.pt: .*{message}"):
        load_state(state)


def test_another_file_is_not_taken_for_a_released_one():
    with pytest.raises(UserError, match="^file.pt: expected weights in the released layout"):
        load_state({"conv.weight": torch.zeros(1)})


def test_sizes_must_be_the_file_s(files):
    with pytest.raises(UserError, match="released.pt: weights do not fit .*misshapen"):
        PortraitPipeline.from_checkpoint(files / "released.pt", "SSHQ512_inf")


def test_configs_by_name_and_by_path(files):
    assert load_config("SSHQ512_inf") == GeneratorConfig()
    assert load_config(str(files / "tiny.yaml")) == TINY_CONFIG
    with pytest.raises(UserError, match="--config: expected one of SSHQ512_inf, .* found 'SSHQ'"):
        load_config("SSHQ")
    with pytest.raises(UserError, match="nothing.yaml: no such configuration file"):
        load_config(str(files / "nothing.yaml"))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    class RunsCode:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({**make_released_state(), "extra": RunsCode()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(RunsCode()))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(UserError, match=f"{name}: .*wants to run code"):
            PortraitPipeline.from_checkpoint(tmp_path / name, "SSHQ512_inf")
    assert not (tmp_path / "ran").exists()


# ---- arrays beside the file ---------------------------------------------------------------------------------------


def test_labels(files, tmp_path):
    assert load_labels(files).face_id is None
    for name, rows in make_priors_dict().items():
        assert torch.equal(getattr(load_labels(files), name), rows)
        np.save(tmp_path / f"{LABELS[name]}.npy", rows.numpy())
    np.save(tmp_path / "id_face_sampler.npy", np.full((2, 80), 0.5, np.float32))
    np.save(tmp_path / "expression_face.npy", np.ones((3, 64)))
    five = load_labels(tmp_path)
    assert torch.equal(five.face_id, torch.full((2, 80), 0.5)) and torch.equal(five.face_expression, torch.ones(3, 64))
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    with pytest.raises(UserError, match="camera_pose_joint_sample.npy: no such file"):
        load_labels(tmp_path)
    for name in LABELS.values():
        np.save(tmp_path / f"{name}.npy", np.zeros((3, 7)))
    with pytest.raises(UserError, match=r"priors: camera_pose: expected floats \[N, 20\], found .*\[3, 7\]"):
        load_labels(tmp_path)


def test_arrays_that_are_not_numbers(files, tmp_path):
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "archive.npz", a=np.zeros(3))
    (tmp_path / "cut.npy").write_bytes((files / "expression_body.npy").read_bytes()[:500])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("words.npy", "objects.npy", "archive.npz", "cut.npy", "empty.npy"):
        with pytest.raises(UserError, match=f"{name}: expected a .npy array of numbers, found"):
            load_array(tmp_path / name)
    with pytest.raises(UserError, match="none.npy: no such file"):
        load_array(tmp_path / "none.npy")


@pytest.mark.parametrize("index", [[0, 144], [-1, 3], [5, 5], [[1, 2]], [0.0, 1.0], []])
def test_indices_must_be_distinct_and_in_range(index, files, tmp_path):
    np.save(tmp_path / "index.npy", np.array(index))
    with pytest.raises(UserError, match="index.npy: expected (distinct )?vertex indices"):
        convert(
            files / "released.pt", tmp_path / "own.safetensors", "--config", files / "tiny.yaml",
            "--head_shoulder_index", tmp_path / "index.npy",
        )  # fmt: skip
    assert not (tmp_path / "own.safetensors").exists()


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "int8", ">i4", ">u2", ">f4", ">f8", "f2"])
def test_arrays_of_any_width_and_byte_order(dtype, tmp_path):
    np.save(tmp_path / "array.npy", np.arange(5).astype(dtype))
    array = load_array(tmp_path / "array.npy")
    assert array.dtype == (torch.float32 if "f" in dtype else torch.int64)
    assert array.tolist() == [0, 1, 2, 3, 4]
