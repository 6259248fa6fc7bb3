"""Expressions by name, and whose they are."""

import numpy as np
import pytest

from networks.person.expressions import (
    ARKIT,
    BASEL,
    DEFAULT_FACE,
    EMBEDDED,
    carried,
    check_face_model,
    coefficient_names,
    columns_of,
    expression,
    face_model_name,
    face_model_of,
)
from networks.person.open_body.actions import ACTIONS
from torch_utils.misc import UserError


def test_actions_are_arkits_in_its_order():
    """Apple's list (ARFaceAnchor.BlendShapeLocation), as Live Link Face's stream has it."""
    assert len(ACTIONS) == len(set(ACTIONS)) == 52
    places = {"eyeBlinkLeft": 0, "eyeBlinkRight": 7, "jawOpen": 17, "mouthSmileLeft": 23, "browInnerUp": 43}
    assert {name: ACTIONS.index(name) for name in places} == places and ACTIONS[51] == "tongueOut"


def test_a_name_without_a_side_means_both():
    assert columns_of("eyeBlink") == (0, 7) and columns_of("eyeBlinkRight") == (7,) and columns_of("jawLeft") == (15,)
    made = expression(eyeBlink=0.5, eyeBlinkLeft=0.25, jawOpen=1)
    assert made[[0, 7, 17]].tolist() == [0.75, 0.5, 1] and np.count_nonzero(made) == 3


@pytest.mark.parametrize("name", ["jaw", "mouth", "smile", "EyeBlink", ""])
def test_names_that_there_are_not(name):
    with pytest.raises(KeyError):
        columns_of(name)


def test_coefficients_have_names():
    arkit, basel = coefficient_names(ARKIT), coefficient_names(BASEL)
    assert arkit[17] == "jawOpen" and arkit[51:53] == ("tongueOut", "expression_52")
    assert basel[0] == "expression_00" and basel[63] == "expression_63" == arkit[63]
    assert len(set(arkit)) == len(set(basel)) == 64


def test_whose_expressions_a_checkpoint_takes():
    assert face_model_of({"face_model": ARKIT, "training": {"face_model": "BFM.mat"}}) == ARKIT
    assert face_model_of({"training": {"face_model": "BFM.mat"}}) == BASEL
    assert face_model_of({"training": {"face_model": None}}) == EMBEDDED  # from before files said it
    assert face_model_of({"source": "made up"}) is None and face_model_of({"face_model": "somebody's"}) is None
    assert face_model_name(None) == DEFAULT_FACE and face_model_name("smpl_models/BFM_model_front.mat") == BASEL


def test_checkpoints_of_another_face_model_are_refused():
    for found, wanted in ((None, ARKIT), (BASEL, None), (BASEL, BASEL)):
        check_face_model(found, wanted, "here")
    with pytest.raises(UserError, match="here: expected a checkpoint of the face model arkit, found one of embedded"):
        check_face_model(EMBEDDED, ARKIT, "here")


def test_expressions_of_another_face_model_are_refused():
    rows = np.ones((2, 64))
    for spoken, wanted in ((ARKIT, ARKIT), (None, BASEL), (BASEL, None)):
        assert carried(rows, spoken, wanted, "here") is rows
    for spoken, wanted in ((BASEL, ARKIT), (ARKIT, BASEL), (EMBEDDED, ARKIT), (ARKIT, EMBEDDED)):
        message = f"here: expected expressions of the checkpoint's face model, {wanted}, found {spoken}'s"
        with pytest.raises(UserError, match=message):
            carried(rows, spoken, wanted, "here")
