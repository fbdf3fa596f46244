"""Hold the estimated cost to measured CPU time on x86-64, each network left out in turn.

Usage: ``python benchmarks/cost.py [ROUNDS]`` writes ``benchmarks/results/cost.json``. Counts are
kept in ``cost_counts.json`` and made again only for what changed; timing takes about a minute a
round. Needs ``qemu-x86_64`` (package qemu-user), gcc and objdump (binutils).

Two models of cost: ``formula`` is what ``edgepack bench`` shows, with its three widths, two
penalties and one cost of a call fitted on the other networks; ``sum`` lets every count have a
weight of its own. A family (all sizes and forms of one kind of network) is left out as a whole in
the harder variant.
"""

import itertools
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import cost_models
import numpy as np
import numpy.typing as npt
import onnxruntime
from scipy.optimize import nnls

from edgepack.base.files import write_whole

RESULT = Path(__file__).parent / "results" / "cost.json"
Real = npt.NDArray[np.float64]
RATIOS = tuple(itertools.product((2, 3, 4, 5, 6), (0.5, 1, 1.5, 2), (0.5, 1, 1.5, 2, 3)))
"""Widths, pipes and ports that are tried; only their proportions matter beside a fitted clock."""


class Fit:
    """Fits one model of cost to some networks and predicts others."""

    def __init__(self, counts: cost_models.Counted, micros: dict[str, float]) -> None:
        self._counts, self._micros = counts, micros

    def sum(self, known: list[str], asked: list[str]) -> Real:
        """Give every count a weight."""
        names = [k for k in next(iter(self._counts.values())) if k != "branch"]
        rows = {
            model: np.array([*(float(c[name]) for name in names), 1.0])
            for model, c in self._counts.items()
        }
        return self._solve(rows, known, asked)[0]

    def formula(self, known: list[str], asked: list[str]) -> Real:
        """Take the largest of three bounds, add misses; proportions by the error on ``known``."""
        tried = [self._solve(self._bounds(*ratio), known, asked) for ratio in RATIOS]
        return min(tried, key=lambda found: found[1])[0]

    def _bounds(self, width: float, pipes: float, ports: float) -> dict[str, Real]:
        return {
            model: np.array(
                [
                    max(
                        c["total"] / width,
                        (c["fma"] + c["madd"]) / pipes,
                        c["loads"] / ports,
                    ),
                    c["l1_misses"],
                    c["l2_misses"],
                    1.0,
                ]
            )
            for model, c in self._counts.items()
        }

    def _solve(
        self, rows: dict[str, Real], known: list[str], asked: list[str]
    ) -> tuple[Real, float]:
        """Fit weights >= 0 to relative errors; return predictions and the squared error left."""
        times = np.array([self._micros[model] for model in known])
        matrix = np.array([rows[model] for model in known]) / times[:, None]
        weights, left = nnls(matrix, np.ones(len(known)))
        return np.array([rows[model] for model in asked]) @ weights, float(left)


def judge(models: list[str], micros: dict[str, float], predicted: dict[str, float]) -> object:
    """Return the errors of all predictions and the correlation of ranks."""
    real = np.array([micros[model] for model in models])
    told = np.array([predicted[model] for model in models])
    errors = np.abs(told / real - 1)
    ranks = [np.argsort(np.argsort(values)) for values in (real, told)]
    worst = np.argsort(-errors)[:5]
    return {
        "median_error": round(float(np.median(errors)), 4),
        "p90_error": round(float(np.quantile(errors, 0.9)), 4),
        "rank_correlation": round(float(np.corrcoef(*ranks)[0, 1]), 4),
        "worst": {models[i]: round(float(told[i] / real[i]), 3) for i in worst},
    }


def leave_out(models: list[str], group: Callable[[str], str], fit: Callable[..., Real]) -> dict:  # type: ignore[type-arg]
    """Predict each group from the others."""
    found: dict[str, float] = {}
    for name in sorted({group(model) for model in models}):
        asked = [model for model in models if group(model) == name]
        known = [model for model in models if group(model) != name]
        found |= dict(zip(asked, map(float, fit(known, asked)), strict=True))
    return found


def main() -> None:
    """Count, time, fit, and write what was found."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    before = cost_models.load()
    with tempfile.TemporaryDirectory(prefix="cost-") as name:
        folder = Path(name)
        cost_models.build(folder)
        models = cost_models.write_models(folder)
        counts = cost_models.counted(folder, models, cost_models.CACHES)
        times = cost_models.timed(folder, models, rounds)
    micros = {model: float(np.median(values)) for model, values in times.items()}
    fit = Fit(counts, micros)
    groups = {"network": lambda model: model, "family": lambda model: model.split("-")[0]}
    result = {
        "command": shlex.join(["python", "benchmarks/cost.py", *sys.argv[1:]]),
        "onnxruntime": onnxruntime.__version__,
        "cpu_as_seen": "AVX2 and FMA, no AVX-512, no VNNI",
        "caches": cost_models.CACHES,
        "load_average": [before, cost_models.load()],
        "networks": len(models),
        "left_out": {
            f"{unit}, {kind.__name__}": judge(models, micros, leave_out(models, group, kind))
            for unit, group in groups.items()
            for kind in (fit.formula, fit.sum)
        },
        "microseconds": {
            model: [round(value, 2) for value in values] for model, values in times.items()
        },
    }
    write_whole(RESULT, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
