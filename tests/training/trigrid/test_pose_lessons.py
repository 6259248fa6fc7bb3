"""E_D's lessons: what they are made of, and what they change."""

import shutil

import pytest
import torch

from networks.person.pose_predictors import PosePredictor
from networks.saved_model import SavedModel, pack_model
from networks.trigrid.camera_labels import is_left, mirror_label, mirror_pose
from networks.trigrid.discriminator import Observed, Told
from networks.trigrid.pose_reader import unpack_pose_reader
from tests.networks.trigrid.test_portrait import make_portrait
from tests.training.trigrid.tiny_portraits import make_dataset, make_step, run
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.misc import UserError
from training.trigrid import lent_people, phases, pose_lessons
from training.trigrid.pose_lessons import Lessons, learn, make_lessons, sampler_of, standardisation, take_in

HARMONIC = {"discriminator": {"camera_harmonics": 2, "fold_mirror": True, "pose_widths": [48]}}
BATCH = 8


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "noise")


def test_lessons_are_what_the_trunk_says_of_people_in_their_poses(dataset, monkeypatch):
    config, networks, *_ = make_step(dataset, HARMONIC)
    made = []

    def seen_making(portrait, config, inputs, clock):
        assert clock.swap == 1.0 and clock.density_noise == 0.0
        made.append((inputs.camera[:, 0], phases.make_people(portrait, config, inputs, clock)))
        return made[-1][1]

    monkeypatch.setattr(pose_lessons, "make_people", seen_making)
    monkeypatch.setattr(pose_lessons, "BATCH", BATCH)
    sampler = sampler_of(dataset, networks.generator, config)
    lessons = make_lessons(networks.generator, networks.discriminator, config, sampler, BATCH + 1, 0)
    assert len(lessons.pose) == 2 * BATCH  # whole batches
    camera, people = made[1]
    left = is_left(camera)
    assert 0 < left.sum() < BATCH
    told, pose = lessons.part(torch.arange(BATCH, 2 * BATCH))
    assert torch.equal(pose[left], mirror_pose(people.pose)[left]) and torch.equal(pose[~left], people.pose[~left])
    assert torch.equal(told.camera[left], mirror_label(camera)[left])
    picture = Observed(people.pictures.image, people.pictures.raw, people.pictures.mask)
    with torch.no_grad():
        found = networks.discriminator.read_pose(told)
        found = torch.where(told.left, mirror_pose(found), found)
        torch.testing.assert_close(found, networks.discriminator.predict_pose(picture, camera), rtol=0, atol=1e-3)


def test_only_the_last_layers_learn_and_they_do(dataset):
    """A pose that is linear in the features is found, although a part of these is hidden in every look."""
    _, networks, *_ = make_step(dataset, HARMONIC)
    d = networks.discriminator
    random = torch.Generator().manual_seed(0)
    features = 3 + 0.2 * torch.randn(512, 16 * 8, generator=random)
    pose = 5 * (features - 3) @ torch.randn(16 * 8, 6, generator=random) / 50
    camera = torch.eye(4).flatten().tolist() + [1.0] * 9
    told = Told(features.half(), torch.tensor(camera).repeat(512, 1), torch.zeros(512, 1, dtype=torch.bool))
    before = {name: value.clone() for name, value in d.state_dict().items()}
    lessons = Lessons(told, pose)
    losses = learn(d, lessons, 150, 0)
    told, pose = lessons.part(torch.arange(512))
    with torch.no_grad():  # by what is written: features as they come; what was left out in learning makes turns small
        found = d.read_pose(told)
    assert (found - pose).square().sum(-1).mean() < losses[0] / 4
    assert torch.corrcoef(torch.stack([found[:, 1], pose[:, 1]]))[0, 1] > 0.9
    changed = {name for name, value in d.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("pose_branch.")}


def test_the_first_layer_takes_in_what_was_done_to_features():
    torch.manual_seed(0)
    branch = PosePredictor(7, (5,), factors=2)
    features, camera, factors = 3 + 0.2 * torch.randn(9, 4), torch.randn(9, 3), torch.randn(9, 2)
    features[:, 1] = 2.0  # never changes
    shift, scale = standardisation(features)
    torch.testing.assert_close(scale[1], torch.tensor(1.0))
    expected = branch(torch.cat([(features - shift) / scale, camera], -1), factors)
    take_in(branch, shift, scale)
    found = branch(torch.cat([features, camera], -1), factors)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)  # differences of numbers fifteen times as large


def test_a_run_takes_lessons(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pose_lessons, "BATCH", BATCH)
    run(dataset, tmp_path / "run", {"run": {"total_kimg": 0.004}})
    before = load_checkpoint(tmp_path / "run/latest_pose_reader")
    words = ["--data", dataset.path, "--people", "8", "--steps", "20", "--device", "cpu"]
    results = []
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "run", tmp_path / name)
        pose_lessons.main([str(tmp_path / name), *map(str, words)])
        results.append(load_checkpoint(tmp_path / name / "latest_pose_reader"))
    assert "latest_pose_reader: E_D is off by" in capsys.readouterr().out
    one, two = results
    assert all(torch.equal(value, two["state"][name]) for name, value in one["state"].items())  # the same every time
    assert {key: one[key] for key in one if key != "state"} == {key: before[key] for key in before if key != "state"}
    unpack_pose_reader(one, "lessons")


def test_people_of_another_model_teach_a_second_network(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pose_lessons, "BATCH", BATCH)
    for name, less in (("LOOKS", 4), ("BATCH", 2), ("RAYS", 16)):
        monkeypatch.setattr(lent_people, name, less)
    run(dataset, tmp_path / "run", {"run": {"total_kimg": 0.004}})
    words = f"--data {dataset.path} --people 8 --steps 20 --lent 2 --lent_steps 20 --device cpu --people_of"
    pose_lessons.main([str(tmp_path / "run"), *words.split(), str(tmp_path / "run/latest")])
    assert "the second network is off by" in capsys.readouterr().out
    reader = unpack_pose_reader(load_checkpoint(tmp_path / "run/latest_pose_reader"), "lessons")
    assert reader.regressor is not None and not reader.regressor.training


def test_a_model_that_was_not_trained_here_is_refused(dataset, tmp_path):
    save_checkpoint(tmp_path / "latest", pack_model(SavedModel(make_portrait(), None, {})))
    with pytest.raises(UserError, match="latest: expected the model of a training run, found no configuration"):
        pose_lessons.read_run(tmp_path / "latest")
