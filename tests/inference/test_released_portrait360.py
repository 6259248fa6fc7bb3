"""The released pickle of portraits from all sides: read without running it, and under which names."""

import json
import pickle

import pytest
import torch

from inference import convert
from inference.pipeline import PortraitPipeline
from inference.released_portrait360 import is_snapshot, load_portrait360
from networks.person.body_assets import BodyArrays
from networks.trigrid.config import TriGridConfig
from networks.trigrid.discriminator import PoseAwareDiscriminator
from networks.trigrid.generator import TriGridGenerator
from networks.trigrid.pose_reader import unpack_pose_reader
from tests.inference.snapshots import write_snapshot
from tests.networks.golden import GOLDEN, requires_golden
from torch_utils.checkpoint import load_checkpoint
from torch_utils.misc import UserError


def test_a_snapshot_is_read_without_running_it(tmp_path):
    """Its modules would end the program."""
    portrait, judge = write_snapshot(tmp_path / "model.pkl")
    assert is_snapshot(tmp_path / "model.pkl")
    found = load_portrait360(tmp_path / "model.pkl")
    assert found.model.generator.config == portrait.config
    reader = unpack_pose_reader(found.pose_reader, "here")
    assert (reader.raw_size, reader.rest_pose) == (10, "t_pose")
    for ours, theirs in ((portrait.trigrid, found.model.generator.trigrid), (judge, reader.discriminator)):
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    assert torch.equal(found.model.generator.body.v_template, portrait.body.v_template)


def test_it_becomes_a_file_of_ours(tmp_path):
    portrait, _ = write_snapshot(tmp_path / "model.pkl")
    convert.main([str(tmp_path / "model.pkl"), str(tmp_path / "model.safetensors")])
    pipe = PortraitPipeline.from_checkpoint(tmp_path / "model.safetensors")
    assert unpack_pose_reader(load_checkpoint(tmp_path / "model_pose_reader.safetensors"), "it").raw_size == 10
    z = pipe.sample_latents(3).z
    camera = torch.tensor([[1.4, -1.0]])
    expected = portrait.render(portrait.person(z[None]), torch.zeros(1, 6, 3), camera).image[0]
    found = pipe.person(seed=3).render(camera=camera[0].tolist()).image
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_512_one_s_superresolution_enlarges_twice(tmp_path):
    write_snapshot(tmp_path / "model.pkl", enlarger="SuperresolutionHybrid8XDC")
    assert load_portrait360(tmp_path / "model.pkl").model.generator.config.superresolution_input == 8


@requires_golden
@pytest.mark.parametrize(("size", "config"), [
    (512, {}), (256, {"image_size": 256, "superresolution_channels": (128, 64)}),
])  # fmt: skip
def test_every_name_of_the_released_models(size, config):
    """At their own size, without memory for it: names and shapes are ours, but for filters, body and leftovers."""
    layout = json.loads((GOLDEN / "portrait360/layout.json").read_text())

    def kept(part: str) -> dict[str, list[int]]:
        gone = ("renderer.", "dataset_label_std")
        return {n: s for n, s in layout[f"{part}_{size}"].items()
                if not n.startswith(gone) and not n.endswith("resample_filter")}  # fmt: skip

    with torch.device("meta"):
        generator, judge = TriGridGenerator(TriGridConfig(**config)), PoseAwareDiscriminator(size)
    for part, module in (("G", generator), ("D", judge)):
        assert {name: list(value.shape) for name, value in module.state_dict().items()} == kept(part)
    names = {name.rsplit(".", 1)[-1] for name in layout[f"G_{size}"] if "aligned_SMPL.model" in name}
    assert {"v_template", "shapedirs", "posedirs", "J_regressor", "lbs_weights", "parents", "faces_tensor"} <= names
    assert set(BodyArrays._fields) == {*names} & {*BodyArrays._fields} | {"faces"}


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_missing_weights_are_named(tmp_path):
    write_snapshot(tmp_path / "model.pkl", drop=("torgb.affine.bias",))
    with pytest.raises(UserError, match=r"G_ema: weights do not fit .*1 missing: trigrid\.torgb\.affine\.bias"):
        load_portrait360(tmp_path / "model.pkl")
    write_snapshot(tmp_path / "model.pkl", drop=("decoder.net.0.weight",))
    with pytest.raises(UserError, match=r"expected weights of a 3DPortraitGAN, found none of the name decoder\.net"):
        load_portrait360(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [(pickle.dumps({"G": 1}), "expected a snapshot with 'G_ema', found a mapping of G"),
     (pickle.dumps([1]), "found list"),
     (pickle.dumps({"G_ema": "a word"}), "expected a pickled module, found str"),
     (b"\x80\x04oops", "not a complete pickle file")],
)  # fmt: skip
def test_other_pickles(content, message, tmp_path):
    (tmp_path / "odd.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_portrait360(tmp_path / "odd.pkl")


def test_a_snapshot_cut_short(tmp_path):
    write_snapshot(tmp_path / "model.pkl")
    data = (tmp_path / "model.pkl").read_bytes()
    (tmp_path / "model.pkl").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"model\.pkl: not a complete pickle file"):
        convert.main([str(tmp_path / "model.pkl"), str(tmp_path / "model.safetensors")])
    assert not (tmp_path / "model.safetensors").exists()


def test_options_of_the_other_release(tmp_path):
    write_snapshot(tmp_path / "model.pkl")
    with pytest.raises(UserError, match=r"--config: .*model\.pkl is a snapshot of 3DPortraitGAN"):
        convert.main([str(tmp_path / "model.pkl"), str(tmp_path / "o.safetensors"), "--config", "SSHQ512_inf"])
