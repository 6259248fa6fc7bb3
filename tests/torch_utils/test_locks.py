"""Locks: one holder, who is named; free again when it is dead, however it died; nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from torch_utils.locks import hold
from torch_utils.misc import UserError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and forks")

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from torch_utils.locks import hold
with hold(Path(sys.argv[1]), "there", "at it"):
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(60)  # a child that outlives its parent
    print("held", os.getpid(), flush=True)
    time.sleep(60)
"""


def start(path: Path, *words: str) -> subprocess.Popen:
    """Another process that holds ``path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), *words], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline().startswith("held")
    return process


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "new" / ".lock"


def test_it_says_who_holds_it_and_is_gone_at_the_end(lock):
    with hold(lock, "there", "at it"):
        assert lock.read_text() == f"{os.getpid()} {socket.gethostname()}"
        with pytest.raises(UserError) as caught, hold(lock, "here", "at work"):
            pytest.fail("must not get here")
        process = f"process {os.getpid()} on {socket.gethostname()}"
        assert str(caught.value) == f"here: {process} is at work; wait for it, or choose another place"
        assert lock.exists()
    assert not list(lock.parent.iterdir())
    with pytest.raises(KeyError), hold(lock, "there", "at it"):
        raise KeyError
    assert not list(lock.parent.iterdir())


@pytest.mark.parametrize("words", [(), ("fork",)])
def test_a_dead_holder_s_lock_is_free(lock, words):
    process = start(lock, *words)
    try:
        with (
            pytest.raises(UserError, match=rf"there: process {process.pid} on \S+ is at it"),
            hold(lock, "there", "at it"),
        ):
            pytest.fail("must not get here")
        process.kill()
        process.wait()
        assert lock.exists()  # as kill -9 leaves it
        with hold(lock, "there", "at it"):
            assert lock.read_text() == f"{os.getpid()} {socket.gethostname()}"
    finally:
        os.killpg(process.pid, signal.SIGKILL) if words or process.poll() is None else None


def test_others_that_were_left_are_removed_and_held_ones_stay(tmp_path):
    (tmp_path / ".a.lock").write_text("1 elsewhere")
    (tmp_path / "mine.lock").write_text("not ours")
    with hold(tmp_path / ".b.lock", "b", "at it"), hold(tmp_path / ".c.lock", "c", "at it"):
        assert sorted(os.listdir(tmp_path)) == [".b.lock", ".c.lock", "mine.lock"]
    assert os.listdir(tmp_path) == ["mine.lock"]


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="there: cannot write there: "), hold(tmp_path / "file" / "a", "there", "at it"):
        pytest.fail("must not get here")


def test_a_file_system_without_locks(lock, monkeypatch):
    def none(_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("torch_utils.locks._lock", none)
    with hold(lock, "there", "at it"):
        assert lock.exists()
    assert not lock.exists()
