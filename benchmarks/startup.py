"""CPU seconds of ``edgepack --help``, and of loading a bundle over ``import onnxruntime``.

Usage: ``python benchmarks/startup.py BUNDLE``. Every arm is a fresh process; arms take turns and
the median counts. Prints JSON; ``load_over_import`` pairs each turn's two processes.
"""

import json
import os
import shlex
import statistics
import sys

TURNS = 11
LOAD = "import edgepack, sys; edgepack.load(sys.argv[1])"


def cpu_seconds(*arguments: str) -> float:
    """Run this Python with ``arguments``, quietly; return user plus system seconds."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, *arguments]
    child = os.posix_spawn(sys.executable, command, environment, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{shlex.join(command)} exited {code}")
    return usage.ru_utime + usage.ru_stime


def main(bundle: str) -> None:
    """Measure every arm in turn and print the medians."""
    arms = {
        "python": ("-c", "pass"),
        "help": ("-m", "edgepack", "--help"),
        "import_onnxruntime": ("-c", "import onnxruntime"),
        "import_edgepack": ("-c", "import edgepack"),
        "load": ("-c", LOAD, bundle),
    }
    for arguments in arms.values():
        cpu_seconds(*arguments)  # writes the .pyc files and fills the page cache
    turns = [{arm: cpu_seconds(*given) for arm, given in arms.items()} for _ in range(TURNS)]
    over = [turn["load"] - turn["import_onnxruntime"] for turn in turns]
    result = {
        "command": f"python {shlex.join(sys.argv)}",
        "load_average": os.getloadavg(),
        "median_cpu_seconds": {a: statistics.median(t[a] for t in turns) for a in arms},
        "load_over_import": statistics.median(over),
        "turns": turns,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
