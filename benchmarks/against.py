"""How often equal runs are called different: what one baseline shows, and what five show.

Usage: ``python benchmarks/against.py FOLDER [RUNS [SECONDS]]``. Every run is an ``edgepack bench``
of one model, kept in FOLDER; a later call goes on from what is there, up to RUNS runs, and stops
after SECONDS. All runs are equal, so every difference found is false. Three designs see them, at a
nominal 1 % and with nothing tolerated: a t-test over all samples of two runs, one over the log
25th percentiles of their processes, both for every pair of runs; and ``bench --against`` with the
five runs before each, and before every sixth, where no run serves twice. Writes
``results/against.json``.
"""

import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta, ttest_ind

from edgepack.bench import baseline
from edgepack.bench.measured import Result, load
from edgepack.bench.record import LOW
from edgepack.bench.verdict import Bars

HERE = Path(os.path.relpath(Path(__file__).parent))
MODEL = "chain_20.onnx"
HOW = ("--threads", "1", "--runs", "200", "--time", "3s", "--warmup", "10")


def measure(folder: Path, total: int, seconds: float) -> None:
    """Bring the runs in the folder up to a total."""
    end = time.monotonic() + seconds
    if not (folder / MODEL).exists():
        subprocess.run([sys.executable, str(HERE / "chain.py"), str(folder), "20"], check=True)
    for number in range(total):
        out = folder / f"run_{number:03}.json"
        if out.exists() or time.monotonic() > end:
            continue
        command = [sys.executable, "-m", "edgepack", "bench", str(folder / MODEL), *HOW]
        subprocess.run([*command, "-q", "--json", "-o", str(out)], check=False, capture_output=True)


def processes(run: Result) -> list[float]:
    """Return the log 25th percentile of each process."""
    return [float(np.log(np.percentile(each.samples.cpu, LOW))) for each in run.processes]


def by_test(groups: Sequence[Sequence[float]]) -> Iterator[bool]:
    """Tell of every pair of runs whether Welch's test calls them different."""
    for one, other in itertools.combinations(groups, 2):
        yield bool(ttest_ind(one, other, equal_var=False).pvalue < baseline.ERROR)


def by_five(levels: Sequence[float], step: int) -> Iterator[bool]:
    """Tell of every ``step``-th run whether it is called different from the five before it."""
    for number in range(5, len(levels), step):
        said = baseline.judge(levels[number - 5 : number], levels[number], Bars(0.0))
        yield said.decision in {"slower", "faster"}


def rate(found: Sequence[bool], *, independent: bool) -> dict[str, Any]:
    """Return how often it happened, with Clopper and Pearson's 95 % interval where it means one."""
    n, k = len(found), sum(found)
    told: dict[str, Any] = {"n": n, "false": k, "rate": round(k / n, 4)}
    if independent:
        low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
        told["interval"] = [round(float(low), 4), round(float(beta.ppf(0.975, k + 1, n - k)), 4)]
    return told


def main(folder: str, total: str = "200", seconds: str = "inf") -> None:
    """Measure what is missing, and write the rates."""
    measure(Path(folder), int(total), float(seconds))
    runs = [load(path)[0] for path in sorted(Path(folder).glob("run_*.json"))]
    runs = [each for each in runs if not each.ended]
    levels = [baseline.level(each) for each in runs]
    pooled = [[float(np.log(x)) for x in each.busy] for each in runs]
    figures = {
        "command": f"python {shlex.join(sys.argv)}",
        "runs": len(runs),
        "nominal": baseline.ERROR,
        "all samples of two runs": rate(list(by_test(pooled)), independent=False),
        "processes of two runs": rate(list(by_test([*map(processes, runs)])), independent=False),
        "bench --against of five runs": rate(list(by_five(levels, 1)), independent=False),
        "of disjoint runs": rate(list(by_five(levels, 6)), independent=True),
        "deviation of runs": round(float(np.std(levels, ddof=1)), 5),
        "load": round(float(np.mean([each.before.load or 0.0 for each in runs])), 1),
        "machine": runs[0].machine["cpu"],
    }
    (HERE / "results" / "against.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
