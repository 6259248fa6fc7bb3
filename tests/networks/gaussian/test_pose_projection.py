"""PCA of poses: golden values, which a library's full solver confirms, and what little data means."""

import pytest
import torch

from networks.gaussian.pose_projection import PoseProjection
from tests.networks.gaussian.golden import golden, needs_golden


@needs_golden
def test_golden():
    data = golden("pose_projection")
    projection = PoseProjection(150, int(data["components"]), float(data["sigma"])).double()
    projection.fit(data["training_maps"].flatten(1))
    assert torch.allclose(projection.mean, data["mean"].flatten(), atol=1e-6)
    assert torch.allclose(projection.deviations, data["standard_deviations"], atol=1e-6)
    expected = data["components_matrix"].flatten(1)
    signs = (projection.basis * expected).sum(-1).sign()
    assert torch.allclose(projection.basis * signs[:, None], expected, atol=1e-6)
    new = data["new_maps"].flatten(1)
    assert torch.allclose(projection.coefficients(new) * signs, data["coefficients_clamped"], atol=1e-6)
    assert torch.allclose(projection(new), data["projected_maps"].flatten(1), atol=1e-6)


def test_by_hand():
    """Points on a line, 0 to 4: mean 2, deviation sqrt(2.5); two deviations from it nothing is farther."""
    projection = PoseProjection(2, 3)
    projection.fit(torch.stack([torch.arange(5.0), torch.zeros(5)], 1))
    assert projection.deviations.tolist() == pytest.approx([2.5**0.5, 0, 0], abs=1e-6)
    found = projection(torch.tensor([[3.0, 7.0], [100.0, 0.0]]))
    assert torch.allclose(found, torch.tensor([[3.0, 0.0], [2 + 2 * 2.5**0.5, 0.0]]), atol=1e-5)


def test_too_little():
    with pytest.raises(ValueError, match=r"rows: expected shape \[N, 2\], N >= 2, found \[1, 2\]"):
        PoseProjection(2, 1).fit(torch.zeros(1, 2))
