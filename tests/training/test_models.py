"""Files that a configuration names, and memory, are looked at before anything slow begins."""

import re

import pytest
import torch

from tests.training.tiny_run import make_config
from torch_utils.distributed import World
from torch_utils.misc import UserError
from training.models import build_networks, check_files
from training.run.memory import check_memory

LOSSES = {"losses": {"landmarks": 1.0}}


def named(**files):
    """A tiny configuration that names these files."""
    return make_config({**files, **(LOSSES if "face_recon" in files else {})})


@pytest.mark.parametrize(
    ("key", "content", "expected"),
    [
        ("face_recon", b"root:x:0:0", "face_recon: expected a checkpoint, found a file that begins with b'root:x:0:'"),
        ("init_from", b"PK\x05\x06", "init_from: expected a checkpoint, found"),
        ("body_model", b"hello world", "body_model: expected a SMPL model (.pkl, .npz), found"),
        ("face_model", b"PK\x03\x04", "face_model: expected a face model (.mat), found"),
        ("face_model", b"", "face_model: expected a file of 1 to"),
        ("face_model", None, "no such face_model file"),
    ],
)
def test_files_of_another_kind_are_refused_first(tmp_path, monkeypatch, key, content, expected):
    monkeypatch.setattr("training.models.load_body", None)  # nothing is loaded before
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="^" + re.escape(f"{tmp_path / 'file'}: {expected}")):
        build_networks(named(**{key: str(tmp_path / "file")}))


def test_a_device_is_no_file():
    with pytest.raises(UserError, match="^/dev/zero: face_recon: expected a regular file, found a device or pipe$"):
        check_files(named(face_recon="/dev/zero"))


def test_what_a_run_began_from_may_be_gone_when_it_goes_on(tmp_path):
    config = named(init_from=str(tmp_path / "gone"))
    check_files(config, resuming=True)
    with pytest.raises(UserError, match="no such init_from file"):
        check_files(config)


def test_files_of_their_kind_pass(tmp_path):
    torch.save({"a": 1}, tmp_path / "new.pt")
    torch.save({"a": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "ours").write_bytes((60).to_bytes(8, "little") + b'{"a":')
    for name in ("new.pt", "old.pt", "ours"):
        check_files(named(init_from=str(tmp_path / name)))


def test_a_step_beyond_all_memory_is_refused():
    world = World(0, 1, torch.device("cpu"))
    check_memory(make_config(), world)
    with pytest.raises(UserError, match=r"^memory: expected a step that fits \d+ GiB \(a smaller batch_size"):
        check_memory(make_config({"optim": {"batch_size": 2**16}, "generator": {"num_fine_samples": 4096}}), world)
    with pytest.raises(UserError, match="fewer channels"):
        check_memory(make_config({"discriminators": {"max_channels": 4096, "channel_base": 2**20}}), world)
