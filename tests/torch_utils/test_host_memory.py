"""Freed memory stays with the process when asked to."""

import platform
import subprocess
import sys

import pytest

TOUCH = """
import resource, sys
from torch_utils.host_memory import keep_freed_memory
assert sys.argv[1] == "return" or keep_freed_memory()
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = bytearray(100 * 2**20)  # zeros, written by Python
    for i in range(0, len(block), 4096):
        block[i] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(touch())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_second_block_costs_page_faults_only_where_the_first_was_returned():
    """In processes of their own: what malloc has done before cannot be undone."""
    counts = {}
    for word in ("keep", "return"):
        done = subprocess.run([sys.executable, "-c", TOUCH, word], capture_output=True, text=True, check=True)
        counts[word] = int(done.stdout)
    assert counts["keep"] < 100 < counts["return"]  # 25,600 pages of 4 KiB, or 50 of 2 MiB and some
