"""Avatars: what fits together, and their files."""

import dataclasses

import pytest
import torch

from inference.portable.avatar import load_avatar, save_avatar
from networks.person.expressions import expression
from tests.inference.portable.made_up import make_avatar
from torch_utils.misc import UserError
from torch_utils.tensor_file import write_tensor_file


def test_files_keep_everything(tmp_path):
    avatar, path = make_avatar(), tmp_path / "person.avatar"
    save_avatar(path, avatar)
    read = load_avatar(path)
    for field in dataclasses.fields(avatar):
        ours, theirs = getattr(avatar, field.name), getattr(read, field.name)
        assert type(ours) is type(theirs)
        assert torch.equal(ours, theirs) if torch.is_tensor(ours) else ours == theirs, field.name
    again = tmp_path / "again.avatar"
    save_avatar(again, read)
    assert again.read_bytes() == path.read_bytes()


def test_expressions_become_amounts_of_blendshapes():
    amounts = make_avatar().morph_amounts(torch.from_numpy(expression(jawOpen=0.4, mouthSmile=0.8, eyeBlink=1)).float())
    torch.testing.assert_close(amounts, torch.tensor([0.4, 0.8, 0.0]))
    # 2 x 0.4 x 0.8, and no more than 1.
    torch.testing.assert_close(make_avatar().corrective_amounts(amounts), torch.tensor([0.64]))
    assert make_avatar().corrective_amounts(torch.tensor([[1.0, 0.9, 0.0], [0.0, 1.0, 1.0]])).tolist() == [[1.0], [0.0]]
    unnamed = dataclasses.replace(make_avatar(), morph_names=("expression_02", "expression_63", "expression_00"))
    torch.testing.assert_close(unnamed.morph_amounts(torch.arange(64.0)), torch.tensor([2.0, 63.0, 0.0]))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        (
            {"vertices": torch.zeros(18, 2)},
            r"vertices: expected torch.float32 \[18, 3\], found torch.float32 \[18, 2\]",
        ),
        ({"uv": torch.zeros(17, 2)}, r"uv: expected torch.float32 \[18, 2\], found .* \[17, 2\]"),
        ({"weights": torch.full((18, 4), 0.2)}, "weights: expected rows that sum to 1 .* found sums from 0.8"),
        ({"morphs": torch.full((3, 18, 3), float("nan"))}, "morphs: expected finite numbers"),
        ({"correction": torch.zeros(1, 3, 4)}, r"correction: expected torch.float32 \[1, 4, 4\], found .* \[1, 3, 4\]"),
        ({"triangles": torch.full((16, 3), 18, dtype=torch.int32)}, "triangles: expected vertices 0 to 17, found 18"),
        ({"layers": torch.tensor([0, 9], dtype=torch.int32)}, "layers: expected increasing numbers from 0 to 16"),
        ({"joint_parents": (0, 0, 1, 1, 1, 2, 3)}, "joint_parents: expected -1 or a joint before each"),
        ({"joints": torch.full((18, 4), 7, dtype=torch.uint8)}, "joints: expected 0 to 6, found 7"),
        ({"morph_names": ("jawOpen", "jawOpen", "grin")}, "morph_names: .* found jawOpen, jawOpen, grin"),
        ({"atlas": torch.zeros(0, 4, 4, dtype=torch.uint8)}, "atlas: expected at least one texel"),
    ],
)
def test_what_does_not_fit_is_refused(changed, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(make_avatar(), **changed)


def test_other_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "person.avatar"
    with pytest.raises(UserError, match="no such avatar"):
        load_avatar(path)
    save_avatar(path, make_avatar())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="truncated or damaged"):
        load_avatar(path)
    write_tensor_file(path, {"generator": torch.zeros(3)})
    with pytest.raises(UserError, match="expected an avatar, version 2, found another file"):
        load_avatar(path)
    write_tensor_file(path, {"avatar": 3})
    with pytest.raises(UserError, match="version 2, found 3"):
        load_avatar(path)
    write_tensor_file(path, {"avatar": 2, "vertices": torch.zeros(3)})
    with pytest.raises(UserError, match="damaged avatar"):
        load_avatar(path)
