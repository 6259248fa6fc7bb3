"""A generator as plain data and back, and what is said about files that do not fit."""

import math

import pytest
import torch

from networks.manifold.generator import Generator
from networks.person.priors import LabelPriors
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
    save_checkpoint(folder / "model.safetensors", pack_model(model, half=half))
    return unpack_model(load_checkpoint(folder / "model.safetensors"), "model.safetensors")


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
    for ours, expected in zip(again.priors[:3], model.priors[:3], strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("half", [False, True])
def test_priors_are_rounded_with_the_weights_only(half, tmp_path):
    rows = {name: rows + 1e-5 for name, rows in make_priors_dict().items()}
    model = make_model(priors=LabelPriors.from_dict(rows, "here"))
    again = through_a_file(model, tmp_path, half=half)
    for ours, expected in zip(again.priors[:3], model.priors[:3], strict=True):
        assert torch.equal(ours, expected.half().float() if half else expected)
        assert torch.equal(ours, expected) != half


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


class Other(Generator):
    convention = "other"


def test_the_convention_says_which_generator():
    for cls in (Generator, Other):
        packed = pack_model(make_model(generator=make_generator(cls=cls)))
        assert packed["convention"] == cls.convention
        assert type(unpack_model(packed, "here", (Generator, Other)).generator) is cls
    with pytest.raises(UserError, match="^here: convention: expected 'aniportraitgan', found 'other'$"):
        unpack_model(packed, "here")
    for odd, found in (("x", "'x'"), (3, "int"), ([1], "list"), (torch.zeros(2), "Tensor")):
        with pytest.raises(UserError, match=f"^here: convention: expected 'aniportraitgan', 'other', found {found}$"):
            unpack_model({**packed, "convention": odd}, "here", (Generator, Other))
    del packed["convention"]  # files from before there was one
    assert type(unpack_model(packed, "here", (Other, Generator)).generator) is Generator


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
        (lambda d: d["state"].update({"body.parents": "tree"}), "body: 'parents' should be an array of numbers"),
        (lambda d: d["state"].update({"body.parents": torch.arange(24)}), "list parents before children"),
        (lambda d: d["state"].update({"body.faces": torch.full((8, 3), 144)}), "body: 'f' should index 144"),
        (lambda d: d["state"].update({"body.lbs_weights": torch.zeros(144, 24)}), "'weights' should sum to 1"),
        (
            lambda d: d["state"].update({"body.lbs_weights": torch.zeros(10, 24)}),
            r"'weights' should have shape \[144, 24\], found \[10, 24\]",
        ),
        (lambda d: d["state"].update({"body.v_template": torch.full((144, 3), math.nan)}), "'v_template' holds NaN"),
        (lambda d: d["state"].update({"body.shapedirs": torch.zeros(144, 3, 10, device="meta")}), "'shapedirs' should"),
        (
            lambda d: d["state"].update({"body.head_shoulder_index": torch.tensor([9999])}),
            "head_shoulder_index: expected distinct vertex indices in 0..143",
        ),
        (lambda d: d["state"].update({"body.head_shoulder_index": None}), "head_shoulder_index: vertex indices should"),
        (lambda d: d["state"].update({3: torch.zeros(1)}), "1 unexpected: 3"),
        (
            lambda d: d["state"].update(mean_phase=torch.zeros(1).to_sparse()),
            r"mean_phase .*without plain values \[1\]",
        ),
        (lambda d: d["config"].update({3: 4}), "config: unknown key '3'"),
        (lambda d: d["config"].update(manifold_centre="abc"), "config: key 'manifold_centre': expected a list"),
        (lambda d: d["config"].update(first_level=10**400), "config: key 'first_level': expected float"),
        (lambda d: d.update(priors=[1]), "priors: expected a mapping of arrays, found list"),
        (lambda d: d.update(priors="all"), "priors: expected a mapping of arrays, found str"),
        (lambda d: d["priors"].update(expression="a"), r"priors: expression: expected floats \[N, 64\], found str"),
        (lambda d: d.update(metadata=[1]), "metadata: expected a mapping, found list"),
        (lambda d: d.update(metadata=""), "metadata: expected a mapping, found str"),
        (lambda d: d["priors"].pop("expression"), "priors: missing array 'expression'"),
        (lambda d: d["priors"].update(id_shape=torch.zeros(3, 80)), r"priors: id_shape: expected floats \[N, 90\]"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(UserError, match=f"^file.pt: .*{message}") as error:
        unpack_model(spoil(change), "file.pt")
    assert "\n" not in str(error.value)


GARBAGE = (None, 7, -1.5, math.nan, "x", b"x", [1, "a"], {}, {3: None}, torch.zeros(0), torch.ones(2, 3).bfloat16())
KEYS = ("format", "version", "convention", "config", "state", "priors", "metadata")
NESTED = [("config", "sr_up_channels"), ("config", "sr_blocks"), ("priors", "expression"), ("state", "mean_phase")]
BODY = [("state", f"body.{name}") for name in ("v_template", "J_regressor", "parents", "faces", "head_shoulder_index")]


@pytest.mark.parametrize("keys", [*((key,) for key in KEYS), *NESTED, *BODY], ids="/".join)
def test_garbage_under_any_key_is_refused_in_one_line(keys, tmp_path):
    whole = {**pack_model(make_model()), "format": "aniportraitgan", "version": 1}
    for garbage in GARBAGE:
        data = {**whole, keys[0]: garbage if len(keys) == 1 else {**whole[keys[0]], keys[1]: garbage}}
        torch.save(data, tmp_path / "file.pt")
        if keys == ("metadata",) and isinstance(garbage, dict | None) or keys == ("priors",) and garbage is None:
            continue  # nothing is wrong with these
        with pytest.raises(UserError, match="^[^\n]*file.pt: [^\n]+$"):
            unpack_model(load_checkpoint(tmp_path / "file.pt"), str(tmp_path / "file.pt"))


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
