"""Errors become one line, and files are whole or absent."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torch_utils.misc import (
    CliParser,
    UserError,
    _machine,
    atomic_path,
    check_file,
    file_sha256,
    resolve_device,
    run_cli,
    shortened,
)

ROOT = Path(__file__).resolve().parents[2]


def test_run_cli_prints_a_user_error_on_one_line_and_exits_with_2(capsys):
    def main():
        raise UserError("a.npy: expected [N,64],\n  found [3]")

    with pytest.raises(SystemExit) as exit_info:
        run_cli(main)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: a.npy: expected [N,64], found [3]\n"


def test_run_cli_turns_ctrl_c_into_one_line_and_130(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_info:
        run_cli(main)
    assert exit_info.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_run_cli_leaves_other_exceptions_alone():
    def main():
        raise ZeroDivisionError("a bug, not bad input")

    with pytest.raises(ZeroDivisionError):
        run_cli(main)


def test_sigterm_cleans_up_like_ctrl_c(tmp_path):
    target = tmp_path / "a.txt"
    code = (
        "import sys, time\n"
        "from torch_utils.misc import atomic_path, run_cli\n"
        "def main():\n"
        f"    with atomic_path({str(target)!r}) as temporary:\n"
        "        temporary.write_text('half')\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "run_cli(main)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    assert len(list(tmp_path.iterdir())) == 1  # the temporary file
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_parser_complains_with_a_user_error():
    parser = CliParser(prog="program.py")
    parser.add_argument("--fps", type=float)
    with pytest.raises(UserError, match=r"argument --fps: invalid float value: 'fast' \(see program.py --help\)"):
        parser.parse_args(["--fps", "fast"])
    with pytest.raises(UserError, match="unrecognized arguments: --fp 3"):
        parser.parse_args(["--fp", "3"])


def test_parser_and_its_commands_keep_line_breaks():
    parser = CliParser(prog="program.py", epilog="one\n  two")
    command = parser.add_subparsers().add_parser("run", description="three\n  four")
    assert parser.format_help().endswith("\none\n  two\n")
    assert "\nthree\n  four\n" in command.format_help()


def test_atomic_path_makes_folders_and_renames(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_path_keeps_the_old_file_and_removes_the_new_on_failure(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_atomic_path_on_a_full_disk_is_one_line(tmp_path):
    path = tmp_path / "a.txt"
    for kept in ("", "; the one before it is still there"):
        with pytest.raises(UserError) as caught, atomic_path(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert str(caught.value) == f"{path}: cannot be written: No space left on device{kept}"
        path.write_text("old")
    with pytest.raises(UserError, match="a.txt: cannot be written: Is a directory"), atomic_path(path):
        path.unlink()
        path.mkdir()


def test_atomic_path_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write there"), atomic_path(tmp_path / "file" / "a.txt"):
        pytest.fail("must not get here")


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_killed_processes_left_is_removed_and_what_others_write_stays(tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    try:
        here, dead, alive = _machine(), dead_process(), other.pid
        gone = [f".a.{here}-{dead}.partial.png", f".latest.{here}-{dead}.partial", ".state.123.partial.pt"]
        kept = [
            f".a.{here}-{alive}.partial.png",
            f".a.{here[::-1]}-{dead}.partial.png",
            ".b.124.partial.pt",
            ".c.partial",
        ]
        kept += ["a.1.partial.png", ".a.x1.partial", f".a.{here}-{os.getpid()}.partial.mp4", "state.123.partial.pt"]
        for name in (*gone, *kept):
            (tmp_path / name).write_text("x")
        (tmp_path / f".frames.{here}-{dead}.partial").mkdir()
        (tmp_path / f".frames.{here}-{dead}.partial/0.png").write_text("x")
        for name in (".state.123.partial.pt", "state.123.partial.pt", ".c.partial"):
            os.utime(tmp_path / name, (0, 0))
        with atomic_path(tmp_path / "new.txt") as temporary:
            temporary.write_text("x")
        assert set(os.listdir(tmp_path)) == {*kept, "new.txt"}
    finally:
        other.kill()
        other.wait()


def test_long_messages_are_shortened():
    assert shortened("short") == "short"
    text = shortened("a" * 3000 + "b" * 3000)
    assert text == "a" * 666 + " ... " + "b" * 250


# As Python says it, whose words changed with 3.13.
NUL = "embedded null byte" if sys.version_info < (3, 13) else "stat: embedded null character in path"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_file_is_looked_at_before_it_is_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    check_file(tmp_path / "a", "model", most=3)
    os.mkfifo(tmp_path / "pipe")
    for name, expected in (
        ("missing", "no such model file"),
        (".", "model: expected a regular file, found a folder"),
        ("pipe", "model: expected a regular file, found a device or pipe"),
        ("a", "model: expected a file of 1 to 2 bytes, found 3"),
        ("a\0b", f"cannot be read: {NUL}"),
    ):
        with pytest.raises(UserError) as error:
            check_file(tmp_path / name, "model", most=2)
        assert str(error.value) == f"{tmp_path / name}: {expected}"


def test_file_sha256_over_several_blocks(tmp_path):
    """The checksum of a million times "a" is in FIPS 180-2, appendix B.3."""
    (tmp_path / "a").write_bytes(b"a" * 1_000_000)
    assert file_sha256(tmp_path / "a") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    data = bytes(range(256)) * 10_000
    (tmp_path / "b").write_bytes(data)
    assert file_sha256(tmp_path / "b") == hashlib.sha256(data).hexdigest()


def test_resolve_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=f"--device {name}: expected a CUDA device, found none"):
            resolve_device(name)
    for name in ("gpu", "cpu:0", "cuda:", "cuda:x", ""):
        with pytest.raises(UserError, match=f"expected auto, cpu, cuda or cuda:N, found '{name}'"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="found 2 on this machine"):
        resolve_device("cuda:2")
