"""Every shipped configuration of a generator fits its dataclass and explains its keys (of runs: training/)."""

import re
from pathlib import Path

import pytest
import yaml

from networks.manifold.generator import GeneratorConfig
from networks.trigrid.config import TriGridConfig
from torch_utils.config import config_from_dict, config_to_dict, load_yaml
from training.config import load_train_config
from training.trigrid.config import TriGridTrainConfig

FOLDER = Path(__file__).resolve().parents[1] / "configs"
FILES = ["SSHQ512_inf.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_fits_the_dataclass_key_for_key(name):
    data = load_yaml(FOLDER / name)
    config = config_from_dict(GeneratorConfig, data, name)
    assert config_to_dict(config) == data  # every key is written down, none is left to a default


@pytest.mark.parametrize("name", FILES)
def test_every_key_has_a_comment(name):
    for line in (FOLDER / name).read_text().splitlines():
        if re.match(r"\s*\w+:", line):
            assert re.search(r"#\s*\S+", line), line
    assert len(yaml.safe_load((FOLDER / name).read_text())) > 5


def test_the_published_size_of_portraits_from_all_sides():
    """The defaults are the released 512^2 model's; stage 3 doubles the rays."""
    path = FOLDER / "portrait360_stage1.yaml"
    config = config_from_dict(TriGridTrainConfig, load_yaml(path), path.name)
    assert config.generator == TriGridConfig() and config == TriGridTrainConfig(
        stage=1, generator=TriGridConfig(), run=config.run
    )
    third = load_train_config(
        FOLDER / "portrait360_stage3.yaml", overrides=["--init_from", "before"], cls=TriGridTrainConfig
    )
    assert [third.raw_size_at(kimg) for kimg in (10_000, 10_500, 11_000, 14_000)] == [64, 96, 128, 128]
    assert third.generator.raw_size == 128 and third.first_kimg + third.run.total_kimg == 14_000


def test_the_released_size():
    config = config_from_dict(GeneratorConfig, load_yaml(FOLDER / "SSHQ512_inf.yaml"), "SSHQ512_inf.yaml")
    assert config == GeneratorConfig()  # the defaults are the released model's
    assert (config.image_size, config.lowres_size, config.num_samples, config.num_fine_samples) == (512, 128, 64, 256)
    assert (config.num_manifolds, config.first_level, config.last_level) == (24, 23.0, 8.0)
    assert (config.radiance_dim, config.manifold_dim, config.feature_dim, config.expression_dim) == (256, 128, 32, 128)
    assert (config.sr_features, config.sr_blocks, config.sr_growth, config.sr_up_channels) == (64, 4, 32, (64, 32))
