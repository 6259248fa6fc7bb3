"""Runs of the tri-grid generator: they end, resume, go on in later stages, and can be drawn from."""

import json
import subprocess
import sys

import pytest
import torch
import yaml

import gen_video
import train
from inference.pipeline import PortraitPipeline
from networks.person.body_model import MEAN_POSE
from tests.training.tiny_run import ALONE, ENVIRONMENT, ROOT, states_differ
from tests.training.trigrid.tiny_portraits import CONFIG, make_config, make_dataset, run
from torch_utils.checkpoint import load_checkpoint
from torch_utils.config import merge
from torch_utils.misc import UserError
from training.data.layout import CAMERA25, ROUGH_POSE
from training.run import release, report
from training.trigrid import poses
from training.trigrid.recipe import TRIGRID, check_data, pictures
from training.trigrid.sampling import cameras, labelled_poses
from training.trigrid.state import TriGridState


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "noise")


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """Four steps without a stop."""
    outdir = tmp_path_factory.mktemp("finished")
    torch.set_num_threads(1)
    run(dataset, outdir, {"run": {"metric_images": 4}})
    return outdir


def test_a_run_leaves_what_is_promised(finished):
    lines = [json.loads(line) for line in (finished / "stats.jsonl").read_text().splitlines()]
    assert [line["cur_nimg"] for line in lines] == [0, 4, 8, 12, 16]
    wanted = {"G/portrait", "rough_pose", "D/portrait", "D/pose", "D/portrait_r1", "D/pose_again", "images_per_second"}
    assert wanted <= lines[1].keys() and "D/portrait_r1" not in lines[2]  # every second step
    assert {line["cur_nimg"] for line in lines if "distance" in line} == {0, 8, 16}
    names = {path.name for path in finished.iterdir()}
    assert {"latest", "best", "latest_pose_reader", "state.safetensors", "config.yaml"} <= names
    assert len(list(finished.glob("fakes*.png"))) == 3


def test_a_stopped_run_goes_on_bit_for_bit(dataset, finished, tmp_path):
    run(dataset, tmp_path, {"run": {"total_kimg": 0.008}})
    run(dataset, tmp_path)
    assert states_differ(finished, tmp_path) == []


def test_learning_rates_follow_their_schedule(dataset):
    ramp = {"schedules": {"rate": {"first": 1.0, "last": 0.5, "start": 0.0, "length": 0.004}}}
    task, state = TRIGRID.begin(make_config(ramp), dataset, ALONE)
    rates = []
    for _ in range(2):
        TRIGRID.train_step(task, state)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in (state.g_opt, state.d_opt)])
    torch.testing.assert_close(torch.tensor(rates), torch.tensor([[2.5e-3, 2e-3 * 2 / 3], [1.25e-3, 1e-3 * 2 / 3]]))


def test_gen_video_draws_what_was_trained(finished, tmp_path):
    words = f"--ckpt {finished}/latest --seeds 0 --cam_path none --cam_cycle 2 --cam_yaw_range 3 --ext png"
    gen_video.main([*words.split(), "--output_dir", str(tmp_path)])
    assert len(list(tmp_path.iterdir())) == 2
    generator = PortraitPipeline.from_checkpoint(finished / "latest").portraits
    assert generator.trigrid.backbone.mapping.w_avg.any()  # tracked
    shown = load_checkpoint(finished / "state.safetensors")["ema"][0]["trigrid.decoder.net.0.weight"]
    assert torch.equal(generator.trigrid.decoder.net[0].weight, shown)


def test_a_release_and_a_report(finished, tmp_path):
    release.main([str(finished), "--out", str(tmp_path / "mine.safetensors"), "--what", "noise"])
    assert PortraitPipeline.from_checkpoint(tmp_path / "mine.safetensors").metadata["what"] == "noise"
    report.main([str(finished), "--people", "1", "--out", str(tmp_path / "report.html"), "--device", "cpu"])
    assert "control sheet" in (tmp_path / "report.html").read_text()


def test_two_processes_train_one_model_that_one_goes_on_with(dataset, tmp_path):
    """torchrun: each takes its half of a batch of 8; a process alone goes on where they stopped."""
    config, outdir = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(merge(CONFIG, {"optim": {"batch_size": 8}, "discriminator": {"history": 8}})))
    words = ["train.py", "--config", config, "--data", dataset.path, "--outdir", outdir, "--device", "cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*torchrun, *map(str, words), "--total_kimg", "0.008"],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(outdir / "state.safetensors")["counters"]["cur_nimg"] == 8
    train.main([*map(str, words[1:]), "--total_kimg", "0.016"])
    lines = [json.loads(line) for line in (outdir / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["cur_nimg"] == 16 and lines[-1]["step"] == 2


def test_the_next_stage_begins_where_the_last_one_ended(dataset, finished, tmp_path):
    state = str(finished / "state.safetensors")
    config = make_config({"stage": 2, "init_from": state, "generator": {"raw_size": 12}})
    _, begun = TRIGRID.begin(config, dataset, ALONE)
    before = load_checkpoint(state)
    assert isinstance(begun, TriGridState)
    for name in ("generator", "discriminators"):
        now, then = getattr(begun.networks, name), before[name]
        assert all(torch.equal(value, then[name]) for name, value in now.state_dict().items())
    assert all(torch.equal(begun.ema[0].state_dict()[name], value) for name, value in before["ema"][0].items())
    assert not any(p.requires_grad for p in begun.networks.generator.trigrid.pose_branch.parameters())
    run(dataset, tmp_path, {"stage": 2, "init_from": state, "run": {"total_kimg": 0.004}})
    frozen = load_checkpoint(tmp_path / "state.safetensors")["generator"]
    names = [name for name in frozen if name.startswith("trigrid.pose_branch")]
    assert names and all(torch.equal(frozen[name], before["generator"][name]) for name in names)


def test_another_generator_cannot_go_on(finished):
    config = make_config({"stage": 2, "init_from": str(finished / "state.safetensors"), "generator": {"crop": 0.2}})
    with pytest.raises(UserError, match="generator.crop: expected the same in both runs, found 0.1, in the conf.* 0.2"):
        TRIGRID.begin(config, make_dataset(finished / "data"), ALONE)


def test_no_state_of_a_tri_grid_run(finished, dataset):
    config = make_config({"stage": 2, "init_from": str(finished / "latest")})
    with pytest.raises(UserError, match="latest: expected the state of a tri-grid run .*, found no 'generator'"):
        TRIGRID.begin(config, dataset, ALONE)


def test_faces_have_a_judge_of_their_own_by_config(dataset, tmp_path):
    face = {"face": {"weight": 1.0, "channel_base": 64, "max_channels": 8}}
    run(dataset, tmp_path, {**face, "run": {"total_kimg": 0.004}})
    line = json.loads((tmp_path / "stats.jsonl").read_text().splitlines()[-1])
    assert {"G/face", "G/face_camera", "D/face", "D/face_camera", "D/face_r1"} <= line.keys()
    with pytest.raises(UserError, match="face.weight: expected 0 unless generator.orbit is portrait"):
        make_config({**face, "generator": {"orbit": "phq"}})


def test_expressions_are_learned_alone_and_stay(dataset, tmp_path):
    """D^e begins with what it made of the morphable face, no step changes it, and the model obeys."""
    expressive = {"generator": {"expression_dim": 8}, "expression_warmup": 20}
    run(dataset, tmp_path, {**expressive, "run": {"total_kimg": 0.004}})
    begun = TRIGRID.begin(make_config(expressive), dataset, ALONE)[1].networks.generator.expression_deformation
    pipe = PortraitPipeline.from_checkpoint(tmp_path / "latest")
    learned = pipe.portraits.expression_deformation.state_dict()
    assert begun.output.weight.any() and pipe.controls.expression
    assert all(torch.equal(value, learned[name]) for name, value in begun.state_dict().items())
    person = pipe.person(seed=0)
    pipe.portraits.expression_deformation.output.bias[:3] = 0.2  # 24 cm: twenty steps of a D^e this small show nothing
    assert not torch.equal(person.render(expression=[1.0] * 64).image, person.render().image)
    with pytest.raises(UserError, match="expression_warmup: expected steps of D.e where generator.expression_dim"):
        make_config({"expression_warmup": 10})


def test_what_does_not_fit_is_one_line(dataset, tmp_path):
    with pytest.raises(UserError, match="expected masks beside the images"):
        check_data(make_config(), make_dataset(tmp_path / "unmasked", masks=False), ALONE)
    with pytest.raises(UserError, match="images: expected at least 64 pixels a side, found 32"):
        check_data(make_config({"generator": {"image_size": 64, "superresolution_input": 32}}), dataset, ALONE)
    with pytest.raises(UserError, match="--history: expected a multiple of 4 a process, found 2"):
        check_data(make_config({"discriminator": {"history": 2}}), dataset, ALONE)
    with pytest.raises(UserError, match="--batch_size: expected a multiple of 4 a process, found 6"):
        check_data(make_config({"optim": {"batch_size": 6}}), dataset, ALONE)
    with pytest.raises(UserError, match=r"--micro_batch: expected a divisor of a process's batch \(8\), found 3"):
        check_data(make_config({"optim": {"batch_size": 8}, "run": {"micro_batch": 3}}), dataset, ALONE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": 2}, "init_from: expected the state of the stage before"),
        ({"losses": {"rough_labels": "guessed"}}, "rough_labels"),
        ({"discriminators": {}}, "unknown key 'discriminators'"),
        ({"run": {"metric_images": 1}}, "run.metric_images"),
        (
            {"schedules": {"raw_size": {"first": 10, "last": 18}}},
            r"raw_size: expected at most superresolution_input \(16\)",
        ),
    ],
)
def test_configurations_that_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make_config(changes)


@pytest.mark.parametrize("kind", ["labels", "noisy", "withheld"])
def test_rough_poses(dataset, kind):
    config = make_config({"losses": {"rough_labels": kind, "rough_noise": 8.0}})
    task, _ = TRIGRID.begin(config, dataset, ALONE)
    portrait = TRIGRID.begin(make_config(), dataset, ALONE)[1].networks.generator
    true = portrait.space.pose_of(portrait.space.rotations(task.sampler.rough_pose))
    torch.testing.assert_close(task.sampler.rough_pose, true, rtol=0, atol=1e-5)
    labels = torch.from_numpy(dataset.labels["joint_eulers"])
    off = task.sampler.rough_pose - portrait.space.pose_of(portrait.space.rotations_of(portrait.body, labels))
    spread = {"labels": 0.0, "noisy": 0.14}.get(kind)  # 8 degrees
    if spread is None:
        assert not task.sampler.rough_pose.any()
    else:
        assert off.std().item() == pytest.approx(spread, abs=0.05 if spread else 1e-6)


def test_labels_of_25_numbers_are_taken_as_they_are(dataset):
    """And poses from SMPL's T-pose: the mean pose there is the bowed head."""
    _, state = TRIGRID.begin(make_config(), dataset, ALONE)
    portrait = state.networks.generator
    label, pose = torch.arange(25.0).double()[None], torch.zeros(1, 6).double()
    pose[0, 3] = MEAN_POSE[3][2]
    labels = {"camera": torch.zeros(1, 2), "joint_eulers": torch.ones(1, 6, 3), CAMERA25: label, ROUGH_POSE: pose}
    assert torch.equal(cameras(portrait, labels), label.float())
    torch.testing.assert_close(labelled_poses(portrait, labels), torch.zeros(1, 6), rtol=0, atol=1e-6)
    image = torch.tensor([0, 255, 255, 0], dtype=torch.uint8).expand(1, 3, 4, 4)
    shrunk, mask = pictures(image, image[:, :1], 2, labels)
    # Edges stay: a triangle's weights of the pixels 0.5, 0.5 and 1.5 away are 3 : 3 : 1, so 4/7 of it is white.
    torch.testing.assert_close(mask, torch.full((1, 1, 2, 2), 4 / 7), rtol=0, atol=1e-5)
    torch.testing.assert_close(shrunk, torch.full((1, 3, 2, 2), 1 / 7), rtol=0, atol=1e-5)


def test_train_py_chooses_by_the_configuration(tmp_path):
    assert train.recipe_of(train.CONFIGS / "portrait360_tiny.yaml") is TRIGRID
    assert train.recipe_of(train.CONFIGS / "synth_tiny.yaml") is train.MANIFOLDS
    (tmp_path / "other.yaml").write_text("generator: {representation: voxels}\n")
    with pytest.raises(UserError, match="generator.representation: expected manifolds or trigrid, found 'voxels'"):
        train.recipe_of(tmp_path / "other.yaml")


def test_poses_are_measured(finished, dataset, capsys):
    poses.main([str(finished), "--data", str(dataset.path), "--num", "8", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| run | views | portraits | r roll | r yaw | r pitch") and "| all | 8 |" in lines[2]
    with pytest.raises(UserError, match="no such checkpoint"):
        poses.main([str(finished / "nobody"), "--data", str(dataset.path)])
