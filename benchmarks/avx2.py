"""Run a Python script with an ONNX Runtime that sees neither AVX-512 nor VNNI, at full speed.

Usage: ``python benchmarks/avx2.py SCRIPT ARGUMENT ...``, on an x86-64 CPU with more than AVX2. The
runtime's CPUID instructions are replaced in a copy, and answered by ``native/region_clock.c``:
its kernels are those of AVX2, on the clock and caches of this CPU.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnxruntime
from cost_models import without_cpuid

HERE = Path(__file__).parent


def main(command: list[str]) -> int:
    """Lay out the copy, and run the script with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(Path(onnxruntime.__file__).parent, folder / "onnxruntime")
        (binding,) = (folder / "onnxruntime/capi").glob("onnxruntime_pybind11_state*.so")
        binding.write_bytes(without_cpuid(binding))
        answers = folder / "answers.so"
        # the clock of the C runner stands before syscall(), which Python itself needs
        source = ["-Dsyscall=clock_of_the_runner", str(HERE / "native/region_clock.c")]
        compiler = shutil.which("gcc") or "gcc"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", *source, "-o", answers], check=True)
        path = os.pathsep.join([name, os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(answers)}
        return subprocess.run([sys.executable, *command], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
