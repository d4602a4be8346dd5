"""Memory that is kept: a large array is not made of new pages again and again."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from surveycnn.run.process import keep_memory
assert keep_memory()
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 40_000_000  # bytes of Python, not of numpy, which asks for huge pages
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(max(faults[1:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_keep_memory__the_second_array_needs_no_new_pages():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def test_tune_process__shortens_the_turns_of_threads():
    script = "import sys; from surveycnn.run.process import SWITCH_SECONDS, tune_process; tune_process()"
    script += "; assert abs(sys.getswitchinterval() - SWITCH_SECONDS) < 1e-6"
    subprocess.run([sys.executable, "-c", script], check=True)
