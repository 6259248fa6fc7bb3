"""A generator as plain data and back, and what is said about files that do not fit."""

import math

import pytest
import torch

from networks.generator import Generator
from networks.priors import LabelPriors
from networks.saved_model import SavedModel, pack_model, unpack_model
from tests.networks.helpers import make_generator, make_inputs, make_priors_dict, max_error
from torch_utils.checkpoint import load_checkpoint, save_checkpoint
from torch_utils.misc import UserError

METADATA = {"source": "made up", "steps": 3, "nested": {"psnr": [1.5, None]}}
FULL_PRECISION = ("body.v_template", "body.J_regressor")


def make_model(**changes) -> SavedModel:
    model = SavedModel(make_generator(), LabelPriors.from_dict(make_priors_dict(), "here"), dict(METADATA))
    return model._replace(**changes)


def through_a_file(model: SavedModel, folder, *, half: bool = False) -> SavedModel:
    save_checkpoint(folder / "model.pt", pack_model(model, half=half))
    return unpack_model(load_checkpoint(folder / "model.pt"), "model.pt")


@torch.no_grad()
def draw(generator: Generator) -> torch.Tensor:
    inputs = make_inputs()
    maps = generator.build_manifolds(generator.style(inputs["z_id"], torch.ones(1, 80), psi=0.5))
    return generator.render(maps, **inputs).image


def test_single_precision_is_bit_equal(tmp_path):
    model = make_model()
    again = through_a_file(model, tmp_path)
    state, expected = again.generator.state_dict(), model.generator.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == value.dtype, name
        assert torch.equal(state[name], value), name
    assert torch.equal(draw(again.generator), draw(model.generator))
    assert not again.generator.training


def test_config_priors_and_metadata_survive(tmp_path):
    model = make_model()
    again = through_a_file(model, tmp_path)
    assert again.generator.config == model.generator.config
    assert again.metadata == METADATA
    for ours, expected in zip(again.priors, model.priors, strict=True):
        assert torch.equal(ours, expected)  # short enough for half precision


def test_without_priors(tmp_path):
    assert through_a_file(make_model(priors=None), tmp_path).priors is None


def test_half_precision_rounds_to_float16(tmp_path):
    model = make_model()
    again = through_a_file(model, tmp_path, half=True)
    for name, value in model.generator.state_dict().items():
        ours = again.generator.state_dict()[name]
        expected = value.half().float() if value.is_floating_point() and name not in FULL_PRECISION else value
        assert ours.dtype == value.dtype, name
        assert torch.equal(ours, expected), name
    whole, half = draw(model.generator), draw(again.generator)
    assert not torch.equal(whole, half)
    assert (whole - half).square().mean() < 4e-3  # 30 dB: 11 bits of weights, with FiLM at 30 times its input


def test_half_precision_halves_the_file(tmp_path):
    model = make_model()
    sizes = []
    for half in (False, True):
        state = pack_model(model, half=half)["state"]
        sizes.append(sum(v.numel() * v.element_size() for v in state.values() if v.is_floating_point()))
    assert sizes[1] / sizes[0] == pytest.approx(0.5, abs=0.03)


def test_packed_weights_are_a_copy():
    model = make_model()
    packed = pack_model(model)
    before = packed["state"]["mean_phase"].clone()
    model.generator.mean_phase += 1
    assert torch.equal(packed["state"]["mean_phase"], before)


def test_a_subclass_may_be_asked_for():
    class Other(Generator):
        pass

    assert type(unpack_model(pack_model(make_model()), "here", Other).generator) is Other


def spoil(change) -> dict:
    data = pack_model(make_model())
    change(data)
    return data


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.pop("config"), "expected a saved model with a mapping 'config', found NoneType"),
        (lambda d: d.update(state=[1]), "expected a saved model with a mapping 'state', found list"),
        (lambda d: d["config"].update(num_manifold=3), "config: unknown key 'num_manifold'.*'num_manifolds'"),
        (lambda d: d["config"].update(sr_blocks="two"), "config: key 'sr_blocks'"),
        (lambda d: d["config"].update(image_size=44), r"config: image_size: expected 4 x lowres_size"),
        (lambda d: d["state"].pop("radiance.layers.3.bias"), r"1 missing: radiance.layers.3.bias"),
        (lambda d: d["state"].update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda d: d["state"].update({"manifolds.output.weight": torch.zeros(2, 32)}),
            r"1 misshapen: manifolds.output.weight \(expected \[1, 32\], found \[2, 32\]\)",
        ),
        (
            lambda d: d["state"].update({"mean_phase": torch.full_like(d["state"]["mean_phase"], math.nan)}),
            "1 not finite: mean_phase",
        ),
        (lambda d: d["config"].update(radiance_dim=8), r"misshapen: .*radiance.layers.0.weight \(expected \[8, 3\]"),
        (
            lambda d: [d["state"].pop(n) for n in ("body.lbs_weights", "body.faces", "body.head_shoulder_index")],
            "3 missing: body.lbs_weights, body.faces, body.head_shoulder_index",
        ),
        (lambda d: d["state"].update({"body.parents": "tree"}), "1 missing: body.parents"),
        (lambda d: d["priors"].pop("expression"), "priors: missing array 'expression'"),
        (lambda d: d["priors"].update(id_shape=torch.zeros(3, 80)), r"priors: id_shape: expected floats \[N, 90\]"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(UserError, match=f"^file.pt: .*{message}"):
        unpack_model(spoil(change), "file.pt")


def test_several_faults_are_named_together():
    def change(data):
        data["state"]["radiance.layers.7.bias"] = data["state"].pop("radiance.layers.3.bias")[:5]
        data["state"]["manifolds.hiden.0.bias"] = data["state"].pop("manifolds.hidden.0.bias")

    with pytest.raises(UserError) as error:
        unpack_model(spoil(change), "file.pt")
    for part in (
        "weights do not fit Generator",
        "2 missing: manifolds.hidden.0.bias, radiance.layers.3.bias",
        "1 unexpected: manifolds.hiden.0.bias",
        "1 misshapen: radiance.layers.7.bias (expected [16], found [5])",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_draws_agree_within_a_picture():
    """The helper above is not blind: another weight is another picture."""
    model = make_model()
    before = draw(model.generator)
    with torch.no_grad():
        model.generator.superresolution.output.bias += 0.5
    assert max_error(draw(model.generator), before) > 0.05
