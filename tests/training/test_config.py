"""The configuration of a run: every shipped file, what is refused, and what the command line may change."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from networks.manifold.generator import Generator
from networks.person.body_assets import default_body, head_shoulder_vertices
from tests.training.tiny_run import CONFIG, make_config, make_dataset
from torch_utils.config import (
    config_from_dict,
    config_to_dict,
    differences,
    find_config,
    load_layered,
    merge,
    parse_overrides,
)
from torch_utils.misc import UserError
from train import main, recipe_of
from training.config import TrainConfig, load_train_config
from training.models import build_discriminators
from training.pretrain import PretrainConfig
from training.run.memory import estimate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RUNS = [path for part in ("*_*", "ablations/*", "baselines/*", "starts/*") for path in sorted(CONFIGS.glob(part))]
OF_OTHER_PROGRAMS = (
    "SSHQ512_inf.yaml", "demo_pretrain.yaml", "pretrained.yaml", "portrait360_start.yaml", "avatar_tiny.yaml",
    "avatar_fullbody.yaml",
)  # fmt: skip
RUNS = [path for path in RUNS if path.name not in OF_OTHER_PROGRAMS]
PRESETS = sorted(CONFIGS.glob("presets/*.yaml"))
FULL = CONFIGS / "shhq_hs_stage1.yaml"


def names(paths):
    return [str(path.relative_to(CONFIGS)) for path in paths]


@pytest.mark.parametrize("path", RUNS, ids=names(RUNS))
def test_shipped_configurations_load(path):
    overrides = ["--init_from", "runs/s1/latest"] if re.search("stage[23]", path.name) else []
    config = load_train_config(path, overrides=overrides, cls=recipe_of(path).config_class)
    assert config.stage == int(re.search(r"stage(\d)", path.name + " stage1")[1])


def test_the_three_starts_are_of_one_generator_and_differ_in_how_they_begin():
    folder = CONFIGS / "starts"
    drawn = config_from_dict(PretrainConfig, load_layered(folder / "pretrained.yaml"), "pretrained.yaml")
    alone, both = (load_train_config(folder / f"{name}.yaml") for name in ("adversarial", "both"))
    size = {"image_size": 64, "lowres_size": 16, "map_scale": 10}  # which networks do not depend on
    assert alone.generator == both.generator == replace(drawn.generator, **size)
    changed = {line.partition(":")[0] for line in differences(config_to_dict(alone), config_to_dict(both))}
    assert changed == {
        "init_from", "discriminator_warmup", "optim.g_lr", "optim.head_lr_scale", "run.total_kimg",
    }  # fmt: skip


@pytest.mark.parametrize("path", RUNS + PRESETS, ids=names(RUNS + PRESETS))
def test_every_key_has_a_comment(path):
    for line in path.read_text().splitlines():
        if re.match(r"\s*\w+:\s+\S", line):
            assert re.search(r"#\s*\S+", line), line


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("full", set()),
        ("whole_only", {"discriminators.face.weight", "discriminators.torso.weight", "losses.landmarks"}),
        ("no_torso", {"discriminators.torso.weight"}),
        ("no_dual_camera", {"discriminators.face_view"}),
        ("no_pose_smoothing", {"generator.pose"}),
    ],
)
def test_ablations_change_one_thing(name, changed):
    full, ablation = load_layered(FULL), load_layered(CONFIGS / "ablations" / f"{name}.yaml")
    assert {line.partition(":")[0] for line in differences(full, ablation)} == changed


@pytest.mark.parametrize("preset", PRESETS, ids=names(PRESETS))
def test_presets_change_only_how_a_run_goes_about_it(preset):
    full = load_train_config(FULL)
    config = load_train_config(FULL, preset)
    assert config.run != full.run
    assert config.optim.batch_size % int(preset.stem.partition("x")[0]) == 0
    assert merge(load_layered(FULL), {"run": None}) == merge(load_layered(FULL), {**load_layered(preset), "run": None})


@pytest.fixture(scope="module")
def parameters():
    """Of the generator and of all discriminators, at the paper's size, by stage."""
    body = default_body()
    found = {}
    for stage in (1, 2):
        config = load_train_config(CONFIGS / f"shhq_hs_stage{stage}.yaml")
        with torch.device("meta"):
            discriminators = build_discriminators(config)
        generator = Generator(config.generator, body, torch.as_tensor(head_shoulder_vertices(body)))
        found[stage] = tuple(sum(p.numel() for p in part.parameters()) for part in (generator, discriminators))
    return found


@pytest.mark.parametrize("preset", PRESETS, ids=names(PRESETS))
def test_presets_fit_and_say_how_much_they_take(preset, parameters):
    gpus, gigabytes = re.fullmatch(r"(\d+)x(\d+)gb", preset.stem).groups()
    said = re.findall(r"([\d.]+) GiB in stage (\d)", preset.read_text())
    assert [stage for _, stage in said] == ["1", "2"]
    for gib, stage in said:
        config = load_train_config(CONFIGS / f"shhq_hs_stage{stage}.yaml", preset)
        total = estimate(config, 32 // int(gpus), bf16=True, parameters=parameters[int(stage)]).total
        assert float(gib) == pytest.approx(total / 2**30, abs=0.051)  # one decimal is said
        assert total < 1e9 * int(gigabytes)


def test_command_line_changes_keys_with_and_without_their_section():
    config = load_train_config(FULL, overrides=["--batch_size", "8", "optim.g_lr=1e-4", "--seed=7"])
    assert (config.optim.batch_size, config.optim.g_lr, config.seed) == (8, 1e-4, 7)
    assert load_train_config(FULL, overrides=["--discriminators.whole.weight", "2"]).discriminators.whole.weight == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batchsize", "8"], "batchsize"),
        (["nonsense"], "nonsense"),
        (["--batch_size"], "batch_size"),
        (["--batch_size", "0"], "optim: batch_size: expected a whole number from 1 to 65536, found 0"),
        (["--optim.g_lr", "fast"], "g_lr"),
        (["--optim.rate", "1"], "unknown key 'rate'"),
        (["--seed", "[1"], "expected a YAML value"),
        (["--r1_gamma", "1"], "r1_gamma"),
    ],
)
def test_bad_overrides_are_named(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_train_config(FULL, overrides=words)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": 2, "generator": {"superresolution": True}}, "init_from"),
        ({"generator": {"superresolution": True}}, "generator.superresolution"),
        ({"losses": {"landmarks": 1.0}}, "face_recon"),
        ({"losses": {"landmarks": -1.0}}, "losses: landmarks: expected a number from 0 to 1000000, found -1.0"),
        ({"generator": {"image_size": 48, "lowres_size": 12}}, "power of two"),
        ({"discriminators": {name: {"weight": 0.0} for name in ("whole", "face", "torso")}}, "expected one"),
        ({"discriminators": {"r1_interval": 0}}, "r1_interval"),
        ({"discriminators": {"face": {"r2_gamma": -1.0}}}, "r2_gamma: expected a number from 0 to 1000000, found -1.0"),
        ({"losses": {"adversarial": "hinge"}}, "key 'adversarial': expected one of 'non_saturating', 'relativistic'"),
        ({"optim": {"ema_decays": []}}, "ema_decays: expected 1 to 4 numbers, found 0"),
        ({"optim": {"ema_decays": 7 * [0.9]}}, "ema_decays: expected 1 to 4 numbers, found 7"),
        ({"optim": {"batch_size": 10**12}}, "batch_size: expected a whole number from 1 to 65536, found 1000000000000"),
        ({"generator": {"first_level": 1e308}}, "first_level: expected a number from -10000 to 10000, found 1e+308"),
        ({"discriminators": {"max_channels": 10**9}}, "max_channels: expected a whole number from 1 to 4096"),
        ({"optim": {"ema_decays": [1.0]}}, "ema_decays: expected a number from 0 to 0.999999999, found 1.0"),
        ({"optim": {"betas": [0.0, 1.0]}}, "betas: expected a number from 0 to 0.999999999, found 1.0"),
        ({"losses": {"points": 0}}, "losses: points: expected a whole number from 1 to 1048576, found 0"),
        ({"run": {"workers": -1}}, "run: workers: expected a whole number from 0 to 256, found -1"),
        ({"stage": 3}, "stage"),
        ({"seed": 2**63}, "seed: expected a whole number from 0 to 9223372036854775807, found 9223372036854775808"),
        ({"optim": {"g_lr": float("nan")}}, "optim: g_lr: expected a number from 1e-12 to 10, found nan"),
    ],
)
def test_nonsense_is_refused(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        make_config(changes)


def test_views_and_sizes_follow_from_the_discriminators():
    assert make_config().discriminators.views == ("portrait", "face")
    crop = make_config({"discriminators": {"face_view": "crop"}})
    assert crop.discriminators.views == ("portrait",)
    face_only = make_config({"discriminators": {name: {"weight": 0.0} for name in ("whole", "torso")}})
    assert (face_only.discriminators.active, face_only.discriminators.views) == (("face",), ("face",))
    second = make_config({"stage": 2, "init_from": "x", "generator": {"superresolution": True}})
    assert second.picture_size("whole") == (64, 64)
    assert second.picture_size("face") == (32, 32)
    assert second.picture_size("torso") == (64, 16)


def test_layers(tmp_path):
    (tmp_path / "a.yaml").write_text("x: {p: 1, q: 2}\ny: 3\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nx: {q: 5}\n")
    assert load_layered(tmp_path / "b.yaml") == {"x": {"p": 1, "q": 5}, "y": 3}
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    with pytest.raises(UserError, match="twice"):
        load_layered(tmp_path / "b.yaml")


def test_overrides_and_differences():
    assert parse_overrides(["--a.b", "1", "c=[1, 2]", "--d=x", "--a.e", "null"]) == {
        "a": {"b": 1, "e": None},
        "c": [1, 2],
        "d": "x",
    }
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}) == [
        "a.c: 2 -> 4",
        "d: 3 -> (absent)",
        "e: (absent) -> 5",
    ]


def test_the_tiny_run_of_the_tests():
    assert isinstance(config_from_dict(TrainConfig, CONFIG, "tiny"), TrainConfig)


def test_configurations_and_presets_go_by_name_or_file(tmp_path):
    assert find_config("4x40gb", CONFIGS / "presets", "--preset") == CONFIGS / "presets/4x40gb.yaml"
    assert find_config("mine.yaml", CONFIGS, "--config") == Path("mine.yaml")
    data = ["--data", str(tmp_path / "no"), "--outdir", str(tmp_path / "run")]
    for words, message in (
        (["--config", "synth_tiny"], "no: no such"),  # the configuration is fine
        (["--config", "synth_huge"], "--config: expected one of SSHQ512_inf, .*, found 'synth_huge'"),
        (["--config", "synth_tiny", "--preset", "2x24gb"], "--preset: expected one of 1x24gb, .*, found '2x24gb'"),
    ):
        with pytest.raises(UserError, match=message):
            main([*words, *data])


def test_a_step_that_does_not_fit_the_gpu_is_one_line(tmp_path, monkeypatch):
    def too_large(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has\n a total of 1 GiB")

    monkeypatch.setattr("train.training_loop", too_large)
    arguments = ["--config", str(FULL), "--outdir", str(tmp_path), "--data", str(make_dataset(tmp_path / "set").path)]
    with pytest.raises(UserError, match=r"stage1.yaml: .*a smaller --micro_batch, found: CUDA out of memory$"):
        main([*arguments, "--device", "cpu"])


def test_an_option_that_does_not_exist_is_one_line(tmp_path):
    arguments = ["--config", str(FULL), "--outdir", str(tmp_path), "--data", str(tmp_path)]
    with pytest.raises(UserError, match="--btach_size: no such option"):
        main([*arguments, "--btach_size", "8"])
    with pytest.raises(UserError, match="required: --config"):
        main(arguments[2:])
