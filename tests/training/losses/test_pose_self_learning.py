"""Terms of pose self-learning against golden values and by hand."""

import pytest
import torch

from networks.trigrid.discriminator import Observed, PoseAwareDiscriminator
from tests.networks.golden import requires_golden
from tests.networks.trigrid.golden import read_golden, weights_of
from tests.networks.trigrid.test_generator import golden_generator
from training.losses import pose_self_learning as learning
from training.losses.pose_self_learning import Conditions, Ramp

CLOSE = {"rtol": 0, "atol": 1e-4}  # float32 sums of some hundred terms


@pytest.mark.parametrize("kimg, value", [(0, 4.0), (10, 4.0), (15, 3.0), (20, 2.0), (99, 2.0)])
def test_ramps(kimg, value):
    assert Ramp(first=4.0, last=2.0, start=10, length=10).at(kimg) == value


def test_ramps_of_no_length_are_steps():
    assert [Ramp(first=1.0, last=0.0, start=5).at(kimg) for kimg in (0, 5, 5.1)] == [1, 1, 0]


def test_the_papers_schedules():
    assert learning.ROUGH_POSE_WEIGHT.at(300) == pytest.approx(0.25)
    assert learning.SWAP_PROBABILITY.at(180) == pytest.approx(0.946)
    assert learning.BLUR_SIGMA.at(180) == pytest.approx(1.0)


@requires_golden
def test_golden_blur():
    golden = read_golden("filters")
    for sigma in (10.0, 3.0, 1.0, 0.3):
        torch.testing.assert_close(learning.blurred(golden["image"], sigma), golden[f"blur_{sigma}"], rtol=0, atol=1e-5)


def golden_discriminator() -> PoseAwareDiscriminator:
    network = PoseAwareDiscriminator(64, channel_base=512, max_channels=16, pose_widths=(32, 24, 16, 8), group=2)
    network.load_state_dict(weights_of(read_golden("discriminator"), ""))
    return network


@requires_golden
def test_golden_generator_step():
    golden = read_golden("losses")
    assert learning.SWAP_PROBABILITY.at(180) == pytest.approx(golden["swapping_probability"][0].item())
    generator = golden_generator(read_golden("generator"))
    camera, z = golden["gen_c"], golden["gen_z"]
    pose = generator.predict_pose(z, camera)
    torch.testing.assert_close(pose, golden["G.pose"], **CLOSE)
    own, others = Conditions(camera, pose), Conditions(camera.roll(1, 0), pose.roll(1, 0))
    conditions = learning.exchanged(own, others, golden["G.swap_uniform"] < golden["swapping_probability"][0])
    torch.testing.assert_close(generator.style(z, *conditions)[:, 0], golden["G.ws"], **CLOSE)
    regularisation = learning.ROUGH_POSE_WEIGHT.at(180) * learning.pose_error(pose, golden["gen_pose"])
    torch.testing.assert_close(regularisation, golden["G.pose_regularisation"], **CLOSE)
    later = learning.ROUGH_POSE_WEIGHT.at(300) * learning.pose_error(pose, golden["gen_pose"])
    torch.testing.assert_close(later, golden["G.pose_regularisation_at_300kimg"], **CLOSE)
    seen = Observed(
        learning.blurred(golden["G.fake_image"], golden["blur_sigma"].item()), golden["G.fake_image_raw"],
        golden["G.fake_image_mask"],
    )  # fmt: skip
    score = golden_discriminator()(seen, camera).score
    torch.testing.assert_close(score, golden["G.score"], **CLOSE)
    torch.testing.assert_close(torch.nn.functional.softplus(-score), golden["G.adversarial"], **CLOSE)


@requires_golden
def test_golden_reals_and_penalty():
    golden = read_golden("losses")
    network = golden_discriminator()
    sigma = 0.9999999999999998  # as the released code computes 1: its reach is 2 taps, not 3
    seen = learning.observed_real(golden["real_image"], golden["real_mask"], 12, sigma)
    seen = Observed(*(part.requires_grad_() for part in seen))
    score = network(seen, golden["real_c"]).score
    torch.testing.assert_close(score, golden["D.score_real"], **CLOSE)
    penalty = learning.gradient_penalty(score, seen)
    torch.testing.assert_close(penalty.pictures, golden["R1.picture"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(penalty.mask, golden["R1.mask"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(penalty.loss, golden["R1.loss"], rtol=1e-3, atol=1e-4)
    assert all(parameter.grad is None for parameter in network.pose_branch.parameters())


def test_exchanged_conditions_by_hand():
    own, others = (Conditions(torch.full((3, 25), value), torch.full((3, 6), value)) for value in (1.0, 2.0))
    found = learning.exchanged(own, others, torch.tensor([[True], [False], [True]]))
    assert found.camera[:, 0].tolist() == [2, 1, 2] and found.pose[:, 5].tolist() == [2, 1, 2]


def test_pose_error_sums():
    assert learning.pose_error(torch.tensor([[1.0, 0, 0, 2, 0, 0]]), torch.zeros(1, 6)).tolist() == [5.0]
