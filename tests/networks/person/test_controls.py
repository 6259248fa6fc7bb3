"""Columns of control sheets."""

import numpy as np
import pytest
import torch

from networks.cameras import camera_frame
from networks.person.body_model import euler_to_matrix
from networks.person.controls import close_up, draw_sheet, sheet_columns, single_controls


def test_exactly_one_thing_moves_in_every_column():
    neutral, *others = single_controls()
    assert not neutral.expression.any() and not neutral.joint_eulers.any()
    assert neutral.camera.tolist() == pytest.approx([torch.pi / 2] * 2)
    parts = {"expression": "expression", "head": "joint_eulers", "shoulders": "joint_eulers", "camera": "camera"}
    for control in others:
        moved = [
            name for name in set(parts.values()) if not torch.equal(getattr(control, name), getattr(neutral, name))
        ]
        assert moved == [parts[control.group]], control.heading
        joints = control.joint_eulers.any(1).nonzero().flatten().tolist()
        assert joints == {"head": [0, 3], "shoulders": joints}.get(control.group, [])
        if control.group == "shoulders":
            assert set(joints) <= {1, 2, 4, 5}
    assert len({(control.group, control.heading) for control in others}) == len(others)


def test_expressions_speak_the_models_language():
    """Column 23 is mouthSmileLeft; Basel's have no names, nor have those of before the open face."""
    smiles = {name: single_controls(name)[1] for name in ("arkit", "embedded", "basel")}
    assert smiles["arkit"].expression[23] == smiles["arkit"].expression[24] == pytest.approx(0.8)
    for other in (smiles["basel"], smiles["embedded"]):
        assert other.heading == "number 0" and other.expression[0] == 2


def test_left_is_the_persons():
    found = {(control.group, control.heading): control for control in single_controls()}
    turned = euler_to_matrix(found["head", "left"].joint_eulers[3]) @ torch.tensor([0.0, 0.0, 1.0])
    assert turned[0] > 0.1  # the nose goes to +x, the person's left
    down = euler_to_matrix(found["head", "down"].joint_eulers[3]) @ torch.tensor([0.0, 0.0, 1.0])
    assert down[1] < -0.1
    assert camera_frame(found["camera", "left"].camera[None], 1.0)[1][0, 0] == pytest.approx(
        0.2955, abs=1e-4
    )  # sin 0.3
    assert camera_frame(found["camera", "above"].camera[None], 1.0)[1][0, 1] == pytest.approx(0.1790, abs=1e-4)


def test_expressions_are_close_ups():
    portrait = torch.arange(100.0).expand(3, 100, 100)
    assert close_up(portrait)[0, 0].tolist() == list(range(18, 82))
    assert close_up(portrait.mT)[0, :, 0].tolist() == list(range(9, 73))
    neutral, expression = sheet_columns()[:2]
    assert (expression.group, expression.heading) == ("expression", "neutral") and not expression.expression.any()
    # Portraits that are white but for the head: in a close-up hardly anything is white.
    portrait = torch.ones(3, 100, 100)
    close_up(portrait)[:] = 0.0
    sheet = np.asarray(draw_sheet(sheet_columns(), [[portrait] * len(sheet_columns())], ["x"]))
    heads = (sheet[:, -300:] == 128).all(-1).sum(1)  # the last columns' heads, by row
    assert heads.max() >= 192 and sheet.shape[1] > 900
