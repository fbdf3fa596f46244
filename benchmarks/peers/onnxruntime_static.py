"""Quantize a project's model the way an expert would by hand with ONNX Runtime's own tool.

Usage: ``python benchmarks/peers/onnxruntime_static.py PROJECT FLOAT.onnx OUT.onnx [DATA]``
PROJECT is a folder of ``benchmarks/models``, DATA a function of its ``data.py``. QDQ, uint8
activations, int8 weights per channel with reduce_range (these CPUs saturate), MinMax over
the project's calibration data, after ONNX Runtime's own ``quant_pre_process`` where that works.
State inputs get the values they have in a float run.
Prints a JSON line: seconds, peak memory, bytes.
"""

import json
import os
import resource
import runpy
import shlex
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import (  # noqa: TID251 (this is the peer)
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: TID251

Feeds = dict[str, np.ndarray]


def feeds(project: Path, model: str, name: str) -> Iterator[Feeds]:
    """Yield the feeds of every calibration run, carried state included."""
    state = tomllib.loads((project / "edgepack.toml").read_text())["model"].get("state", {})
    samples = runpy.run_path(str(project / "data.py"))[name]()
    if not state:
        yield from samples
        return
    session = ort.InferenceSession(model)
    shapes = {i.name: i.shape for i in session.get_inputs()}
    for sequence in samples:
        carried = {name: np.zeros(shapes[name], np.float32) for name in state.values()}
        for step in range(len(next(iter(sequence.values())))):
            frame = {name: array[step] for name, array in sequence.items()} | carried
            yield frame
            values = session.run(list(state), frame)
            carried = dict(zip(state.values(), values, strict=True))


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """ONNX Runtime's way to ask for the next sample."""

    def __init__(self, samples: Iterator[Feeds]) -> None:
        self.samples = samples

    def get_next(self) -> Feeds | None:
        """Return the next sample, or None at the end."""
        return next(self.samples, None)


def main(project: Path, model: str, out: str, name: str = "calibration") -> dict[str, object]:
    """Quantize, and return what it took."""
    start, prepared, failure = time.process_time(), f"{out}.pre", ""
    try:
        quant_pre_process(model, prepared)
    except Exception as error:  # it raises anything; the model itself then serves
        failure, prepared = f"{type(error).__name__}: {error}", model
    quantize_static(
        prepared,
        out,
        Reader(feeds(project, model, name)),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
    )
    if prepared != model:
        Path(prepared).unlink()
    return {
        "command": f"python {shlex.join(sys.argv)}",
        "onnxruntime": ort.__version__,
        "cpu_seconds": time.process_time() - start,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "pre_process_failure": failure,
        "bytes": {"float": Path(model).stat().st_size, "int8": Path(out).stat().st_size},
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])))
