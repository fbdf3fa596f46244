"""The laws of saturation on a CPU that saturates, emulated where this one does not.

A CPU with VNNI adds u8*s8 products in 32 bits, and every test of the pair law is skipped on it.
User-mode qemu offers no VNNI: the same tests run there, in the same Python.
"""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgepack.runtime.saturation import saturates
from tests.apps import need

ROOT = Path(__file__).parents[2]
FILES = (
    "tests/property/test_pass_laws.py",
    "tests/property/test_dynamic_laws.py",
    "tests/integration/test_saturation.py",
)


@pytest.mark.slow
@pytest.mark.skipif(saturates(), reason="these tests run on this very CPU")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs the Python of an x86-64 CPU")
def test_the_pair_law_holds_on_an_emulated_cpu_that_saturates() -> None:
    qemu = shutil.which("qemu-x86_64")
    need(qemu, "scripts/setup installs qemu-user")
    assert qemu is not None
    tests = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *FILES]
    command = [qemu, "-cpu", "Haswell", sys.executable, *tests, "-k", "satur or bit_for_bit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout[-4000:]
