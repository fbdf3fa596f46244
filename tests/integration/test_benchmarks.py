"""The benchmarks for pytest-benchmark still run; how fast is no matter here."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmarks_run_once_each_and_scripts_beside_them_are_left_alone() -> None:
    options = ("--benchmark-disable", "-q", "-p", "no:cacheprovider", "-k", "not 224")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "4 deselected" in done.stdout
    assert "skipped" not in done.stdout
