"""The processes of a pool: threads, order, errors, and how they end."""

import os
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from torch_utils.misc import UserError
from torch_utils.worker_pool import worker_pool

resource = pytest.importorskip("resource")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux about files and processes")
ROOT = Path(__file__).resolve().parents[2]


def work(item: tuple, base: np.ndarray):
    """What a test asks of a worker: (its name, arguments ...)."""
    what, *rest = item
    if what == "settings":
        ctrl_c_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return os.environ["OMP_NUM_THREADS"], torch.get_num_threads(), ctrl_c_ignored, os.getpid()
    if what == "add":
        number, seconds = rest
        time.sleep(seconds)
        return int(base[number]) + number
    if what == "tensors":
        return [torch.full((2,), float(i)) for i in range(rest[0])]
    if what == "fail":
        raise UserError(f"photo {rest[0]}: no good")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def pool():
    with worker_pool(partial(work, base=np.arange(0, 1000, 10)), workers=2) as work_all:
        yield work_all


def test_a_worker_has_one_thread_and_leaves_ctrl_c_to_the_caller(pool):
    threads, torch_threads, ctrl_c_ignored, pid = next(pool([("settings",)]))
    assert (threads, torch_threads, ctrl_c_ignored) == ("1", 1, True) and pid != os.getpid()


def test_the_environment_is_as_it_was_afterwards(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with worker_pool(work, workers=1):  # starts no process: there is nothing to do
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3" and "MKL_NUM_THREADS" not in os.environ


def test_results_are_in_the_order_of_items(pool):
    """The first takes longest; the function's own array, 10 times the index, came along."""
    items = [("add", number, 0.2 if number == 0 else 0.0) for number in range(40)]
    assert list(pool(items)) == [11 * number for number in range(40)]
    assert list(pool([])) == []


def test_items_are_asked_for_little_ahead(pool):
    asked = []
    results = pool(asked.append(number) or ("add", number, 0.0) for number in range(50))
    next(results)
    assert len(asked) == 16  # eight for each of two workers


@needs_linux
def test_tensors_take_no_open_files(pool):
    """A data set's worth of tensors is more than the files that a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, hard))
    try:
        results = list(pool([("tensors", 20)] * 5))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [[tensor.tolist() for tensor in result] for result in results] == [[[i, i] for i in range(20)]] * 5


def test_what_a_worker_raises_comes_in_its_place(pool):
    results = pool([("add", 1, 0.0), ("fail", 7), ("add", 2, 0.0)])
    assert next(results) == 11
    with pytest.raises(UserError, match="^photo 7: no good$"):
        next(results)
    assert list(pool([("add", 3, 0.0)])) == [33]


def test_a_killed_worker_is_one_line():
    with (
        pytest.raises(UserError, match=r"^a worker process was killed \(out of memory\? try fewer --workers\); run"),
        worker_pool(partial(work, base=np.zeros(1)), workers=1) as work_all,
    ):
        list(work_all([("die",)]))


ORPHANED = """
import time
from torch_utils.worker_pool import worker_pool

def sleep(file):
    import os
    with open(file, "w") as out:
        out.write(str(os.getpid()))
    os.rename(file, file + ".pid")
    time.sleep(1000)

if __name__ == "__main__":
    import sys
    with worker_pool(sleep, 1) as sleep_all:
        list(sleep_all(sys.argv[1:]))
"""


@needs_linux
def test_no_worker_outlives_its_parent(tmp_path):
    """The parent is killed while its worker is busy."""
    (tmp_path / "program.py").write_text(ORPHANED)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path / "worker")], env=environment)
    written = tmp_path / "worker.pid"
    while parent.poll() is None and not written.exists():
        time.sleep(0.01)
    worker = os.pidfd_open(int(written.read_text()))
    assert not select.select([worker], [], [], 0)[0]  # it runs
    parent.kill()
    parent.wait()
    assert select.select([worker], [], [], 60)[0]
    os.close(worker)
