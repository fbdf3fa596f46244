"""What a model costs on a device: seconds of a layer, the ratio of a whole network to another."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.base.errors import MachineError
from edgepack.base.files import sha256
from edgepack.bench import remote
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.ground import Here, There
from edgepack.bench.rivals import Rivals, arm
from edgepack.bench.sampler import take
from edgepack.bench.verdict import FEWEST, Bars, Groups, Verdict, judge
from edgepack.devices import Timing
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample

_ONE = Options(threads=1)
_WARMUP, _RUNS = 3, 40
_BUDGET = 60.0  # seconds
_ERROR = 0.05
_ENOUGH = 0.02
"""Half-width of an interval, as a fraction, from which no more is measured."""


@dataclass(frozen=True, slots=True)
class Price:
    """A device's clock, one thread.

    Attributes:
        device: Where to measure; None for this machine.
    """

    device: Timing | None = None

    def seconds(self, model: bytes, sample: Sample) -> float:
        """Return the lower quartile of the CPU time of a run."""
        return float(np.percentile(self._samples(model, sample), 25))

    def _samples(self, model: bytes, sample: Sample) -> tuple[float, ...]:
        if self.device is None:
            session = Session(model, _ONE)
            return take(lambda: session.run(sample), threads=1, warmup=_WARMUP, runs=_RUNS).cpu
        with tempfile.TemporaryDirectory(prefix="edgepack-price-") as folder:
            path = Path(folder) / "layer.onnx"
            path.write_bytes(model)
            found = remote.measure(path, self.device, threads=1, runs=_RUNS, warmup=_WARMUP)
        return found.samples["cpu"]

    def ratio(self, before: bytes, after: bytes, sample: Sample) -> tuple[float, float, float]:
        """Return the time of ``after`` over that of ``before``, and its 95 % interval.

        Raises:
            MachineError: The device cannot tell within its time.
        """
        a, b = (arm(n, m, sha256(m), _ONE) for n, m in (("before", before), ("after", after)))
        ground = Here() if self.device is None else There(self.device)
        rivals = Rivals(a, b, [sample], "made up")
        _run, verdict = Contest(rivals, Terms(_narrow, _BUDGET, _ERROR), ground=ground).compare()
        if verdict.processes < FEWEST:
            raise MachineError(
                "E-DEVICE",
                f"{verdict.processes} processes in {_BUDGET:g} s are too few to tell a ratio",
                hint="ask for MACs instead of latency",
            )
        return verdict.ratio, *verdict.interval


def _narrow(groups: Groups, error: float) -> tuple[Verdict, bool]:
    """Judge a look; it is enough where the interval is narrow."""
    verdict = judge(groups, error, Bars())
    low, high = verdict.interval
    return verdict, high / low < (1 + _ENOUGH) ** 2
