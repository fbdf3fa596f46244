"""Measurements as other tools read them; invalid ones are left out, for no dashboard can tell.

Sources: the files of pytest-benchmark 5 (``--benchmark-json``); github-action-benchmark, tool
``customSmallerIsBetter``.
"""

import datetime
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from edgepack.base.errors import RequestError, nearest
from edgepack.bench import measured
from edgepack.bench.measured import Result
from edgepack.bench.summary import summarize

Results = Sequence[Result]


def encode(results: Results, kind: str) -> bytes:
    """Return a file of that kind.

    Raises:
        RequestError: There is no such kind.
    """
    return check(kind)(results)


def check(kind: str) -> Callable[[Results], bytes]:
    """Return what writes a kind of file.

    Raises:
        RequestError: There is no such kind.
    """
    if kind not in _KINDS:
        raise RequestError("E-FORMAT", f"no format {kind!r}", hint=nearest(kind, _KINDS))
    return _KINDS[kind]


def _valid(results: Results) -> list[Result]:
    return [each for each in results if summarize(each).valid and each.latency]


def _name(result: Result) -> str:
    return f"{result.model} {result.scenario.name} {result.options.threads} threads"


def _pytest(results: Results) -> bytes:
    """Return what ``pytest-benchmark compare`` reads; latency in seconds, CPU time beside it."""
    kept = _valid(results)
    facts: dict[str, Any] = kept[0].machine if kept else {}
    data = {
        "machine_info": {**facts, "python_version": facts.get("python", ""), "node": ""},
        "commit_info": {"id": "", "dirty": False},
        "benchmarks": [_benchmark(each) for each in kept],
        "datetime": datetime.datetime.now(datetime.UTC).isoformat(),
        "version": "5.1.0",
    }
    return msgspec.json.encode(data) + b"\n"


def _benchmark(result: Result) -> dict[str, Any]:
    summary = msgspec.to_builtins(summarize(result))
    extra = {"sha256": result.sha256, "percentiles": summary["latency"], "cpu": summary["cpu"]}
    return {
        "group": result.scenario.name,
        "name": _name(result),
        "fullname": _name(result),
        "params": None,
        "param": None,
        "extra_info": extra,
        "options": {"timer": "perf_counter", "warmup": result.scenario.warmup > 0},
        "stats": _stats(np.asarray(result.latency)),
    }


def _stats(seconds: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, Any]:
    """Return what pytest-benchmark derives, outliers by its rules: 1 deviation; 1.5 IQR."""
    q1, median, q3 = (float(each) for each in np.percentile(seconds, [25, 50, 75]))
    mean, iqr = float(seconds.mean()), q3 - q1
    deviation = float(seconds.std(ddof=1)) if len(seconds) > 1 else 0.0
    mild = int((np.abs(seconds - mean) > deviation).sum())
    severe = int(((seconds < q1 - 1.5 * iqr) | (seconds > q3 + 1.5 * iqr)).sum())
    return {
        "min": float(seconds.min()),
        "max": float(seconds.max()),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(seconds),
        "median": median,
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": severe,
        "stddev_outliers": mild,
        "outliers": f"{mild};{severe}",
        "ld15iqr": float(seconds[seconds >= q1 - 1.5 * iqr].min()),
        "hd15iqr": float(seconds[seconds <= q3 + 1.5 * iqr].max()),
        "ops": 1 / mean,
        "total": float(seconds.sum()),
        "data": seconds.tolist(),
        "iterations": 1,
    }


def _github(results: Results) -> bytes:
    """Return a list for a dashboard: each percentile that the samples support, in ms."""
    rows = []
    for result in _valid(results):
        for name, found in summarize(result).latency.items():
            if found is not None:
                row = {"name": f"{_name(result)} {name}", "unit": "ms"}
                bound = f"<= {found.bound * 1e3:.4g} ms with 99 % confidence"
                rows.append({**row, "value": found.value * 1e3, "extra": bound})
    return msgspec.json.encode(rows) + b"\n"


def _own(results: Results) -> bytes:
    return measured.encode(tuple(results))


_KINDS: dict[str, Callable[[Results], bytes]] = {
    "edgepack": _own,
    "pytest-benchmark": _pytest,
    "github-action-benchmark": _github,
}
