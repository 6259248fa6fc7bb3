"""What is compiled is kept: found again, made once, and made anew where it is damaged."""

import hashlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.torch_utils.native.cached import cached
from torch_utils.native.cache import BuildError, cache_folder, digest, kept

CONTENT = bytes(range(256)) * 300


class Maker:
    """Makes a file of CONTENT and counts how often."""

    def __init__(self, wait: float = 0):
        self.wait, self.calls = wait, 0

    def __call__(self, folder: Path) -> Path:
        self.calls += 1
        assert list(folder.iterdir()) == []
        time.sleep(self.wait)
        (folder / "made").write_bytes(CONTENT)
        return folder / "made"


def test_made_once(fresh, tmp_path):
    make = Maker()
    path = kept("ops-1.so", make)
    assert kept("ops-1.so", make) == path == tmp_path / "the cache" / "aniportraitgan" / "ops-1.so"
    assert make.calls == 1 and path.read_bytes() == CONTENT and cached(tmp_path) == ["ops-1.so"]
    checksum = path.with_name("ops-1.so.sha256").read_text()
    assert checksum == f"{hashlib.sha256(CONTENT).hexdigest()}  ops-1.so\n"  # sha256sum -c reads it


@pytest.mark.parametrize("size", [0, 100, 4096, 60_000, 76_801])
def test_a_damaged_file_is_made_anew(fresh, size):
    """Cut, or longer than it was."""
    make = Maker()
    path = kept("ops-1.so", make)
    path.write_bytes((CONTENT + b"more")[:size])
    assert kept("ops-1.so", make).read_bytes() == CONTENT and make.calls == 2


def test_damage_that_keeps_the_size_and_damaged_checksums(fresh):
    make = Maker()
    path = kept("ops-1.so", make)
    flipped = bytearray(CONTENT)
    flipped[5000] ^= 1
    path.write_bytes(flipped)
    assert kept("ops-1.so", make).read_bytes() == CONTENT and make.calls == 2
    checksum = path.with_name("ops-1.so.sha256")
    for spoil in (
        lambda: checksum.write_bytes(b"\xff\n"),
        lambda: checksum.write_bytes(b""),
        checksum.unlink,
        path.unlink,
    ):
        before = make.calls
        spoil()
        assert kept("ops-1.so", make).read_bytes() == CONTENT and make.calls == before + 1


def test_threads_make_once(fresh):
    make = Maker(wait=0.2)
    threads = [threading.Thread(target=kept, args=("ops-1.so", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.calls == 1


def test_folders_of_builds_that_died_are_removed(fresh, tmp_path):
    """At the next build. What is not a build's stays."""
    folder = cache_folder()
    program = """
import os, pathlib, signal
from torch_utils.native.cache import kept
def make(folder):
    (folder / "half").write_bytes(b"1234")
    os.kill(os.getpid(), signal.SIGKILL)
kept("ops-1.so", make)
"""
    root = Path(__file__).resolve().parents[3]
    died = subprocess.run([sys.executable, "-c", program], cwd=root, timeout=120)
    assert died.returncode == -9
    assert len(list(folder.glob("build-*/half"))) == 1
    (folder / "builders").mkdir()
    kept("ops-1.so", Maker())
    assert cached(tmp_path) == ["builders", "ops-1.so"]


def test_what_fails_leaves_nothing(fresh, tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise BuildError("no")

    with pytest.raises(BuildError, match="^no$"):
        kept("ops-1.so", fail)
    assert cached(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="building the ops in .*file/aniportraitgan failed: .*Not a directory"):
        kept("ops-1.so", Maker())


def test_a_digest_depends_on_sources_and_parts(fresh):
    digests = {digest("a"), digest("b"), digest("a", "b")}
    fresh["for_each.h"] += "// changed\n"
    assert len(digests | {digest("a")}) == 4
