"""Peak memory and CPU time of a command for 32 and for 1,024 calibration samples.

Usage: ``python benchmarks/calibration_memory.py COMMAND...``; in each argument ``{n}`` becomes
the number of samples and ``{out}`` a folder that is thrown away. Example::

    python benchmarks/calibration_memory.py edgepack build benchmarks/made/efficientnet_lite0.onnx \
        -t x86_64 --calib benchmarks/models/efficientnet_lite0/data.py:calibration_{n} -o {out}

Each run is a process of its own, in turn, three times; its peak is what the kernel counted for it
and the processes it waited for. Prints JSON.
"""

import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile

COUNTS = (32, 1024)
REPEATS = 3


def measure(command: list[str], count: int) -> dict[str, float]:
    """Run ``command`` for ``count`` samples; return its peak in MB and its CPU seconds."""
    with tempfile.TemporaryDirectory() as folder:
        filled = [part.replace("{n}", str(count)).replace("{out}", folder) for part in command]
        program = shutil.which(filled[0]) or sys.exit(f"no program {filled[0]!r}")
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        child = os.posix_spawn(program, filled, os.environ, file_actions=quiet)
        _, status, usage = os.wait4(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{shlex.join(filled)} exited {code}")
    return {"peak_mb": usage.ru_maxrss / 1024, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def main(command: list[str]) -> None:
    """Measure both ends in turn and print them."""
    runs = [{count: measure(command, count) for count in COUNTS} for _ in range(REPEATS)]
    peaks = {n: statistics.median(run[n]["peak_mb"] for run in runs) for n in COUNTS}
    result = {
        "command": f"python {shlex.join(sys.argv)}",
        "peak_mb": peaks,
        "growth": peaks[COUNTS[-1]] / peaks[COUNTS[0]] - 1,
        "runs": runs,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
