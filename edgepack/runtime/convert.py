"""Convert a model on the device that runs it: ``.ort``, optimized once instead of at each load.

What the optimizer does depends on the CPU (layouts of its convolutions, forms of its integers), so
such a file is made where it runs and never shipped. It is kept only where it loads faster, in CPU
time of interleaved loads, and passes the golden self-test; ``session.save_model_format`` writes
the style that ONNX Runtime calls Fixed.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgepack.base import units
from edgepack.base.errors import ModelError, SafetyError
from edgepack.bundle.golden import judge
from edgepack.bundle.open import Bundle
from edgepack.runtime.model import ready, shipped_options
from edgepack.runtime.session import Options, Session

_TURNS, _CLEAR = 15, 12
"""Loads of each file, and of how many it must win: by chance alone 2 conversions in 100 do (sign
test, one-sided)."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What came of a conversion.

    Attributes:
        data: The ``.ort`` file; None where the plain model serves as well or better.
        sentence: Why.
    """

    data: bytes | None
    sentence: str


def faster_ort(bundle: Bundle) -> Converted:
    """Convert the model of a bundle for this machine, and say whether that pays.

    Raises:
        MachineError: This machine cannot run the bundle.
        SafetyError: The bundle fails its own self-test here, before any conversion.
    """
    ready(bundle).selftest()
    options = shipped_options(bundle.manifest, None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.ort"
        entries = {**options.entries, "session.save_model_format": "ORT"}
        Session(bundle.model, replace(options, save_optimized=path, entries=entries))
        data = path.read_bytes()
    optimized = replace(options, level="disable", format="ORT")
    try:
        session = Session(data, optimized, self_contained=True)
        runs = [session.run(sample) for sample in bundle.golden.samples]
        judge(bundle.golden, bundle.manifest.golden.tolerance, runs).require("as .ort")
    except (ModelError, SafetyError) as error:
        return Converted(None, f"no .ort is kept: {error}")
    return verdict(data, _times(bundle.model, options, data, optimized))


def verdict(data: bytes, times: Sequence[tuple[float, float]]) -> Converted:
    """Keep a conversion that loads faster, and not only by chance.

    Args:
        data: The ``.ort`` file.
        times: Paired CPU seconds of loading it, and the plain model.
    """
    ratios = sorted(mine / other for mine, other in times)
    seconds = statistics.median(other for _, other in times)
    share = units.percent(statistics.median(ratios), 0)
    text = f"as .ort it loads in {share} of {units.duration(seconds)} of CPU time"
    if ratios[_CLEAR - 1] < 1:
        return Converted(data, f"{text}; made for this CPU alone")
    return Converted(None, f"no .ort is kept: {text}, which is not clearly faster")


def _times(
    plain: bytes, options: Options, converted: bytes, optimized: Options
) -> list[tuple[float, float]]:
    """Return the CPU time of opening the converted file and the plain one, turn by turn."""
    return [
        (
            _cpu(lambda: Session(converted, optimized, self_contained=True)),
            _cpu(lambda: Session(plain, options, self_contained=True)),
        )
        for _ in range(_TURNS)
    ]


def _cpu(load: Callable[[], object]) -> float:
    start = time.process_time()
    load()
    return max(time.process_time() - start, 1e-9)
