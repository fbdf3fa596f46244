"""ONNX Runtime's own static quantizer, with options picked by hand, in a process of its own.

``python -m edgepack.runtime.peer FOLDER`` reads ``job.json``, ``float.onnx`` and ``samples.npz`` in
FOLDER and writes ``int8.onnx`` there. It is a process because the tool prints, keeps memory and
imports what no other part of edgepack may.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to quantize, and how.

    Attributes:
        names: Inputs; arrays of ``samples.npz`` by position, those of run 0 first.
        reduce_range: Weights of 7 bits, for CPUs on which 8 saturate.
        exclude: Nodes, by name, that stay in float.
    """

    names: tuple[str, ...]
    reduce_range: bool
    exclude: tuple[str, ...] = ()


def main(folder: Path) -> None:
    """Quantize as an expert does by hand: QDQ, u8 x s8, weights per channel, MinMax."""
    from onnxruntime import quantization  # noqa: TID251 - the door is for its own child process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """ONNX Runtime's way to ask for the next sample."""

        def __init__(self, samples: Iterator[dict[str, Any]]) -> None:
            self._samples = samples

        def get_next(self) -> dict[str, Any] | None:
            return next(self._samples, None)

    job = msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)
    quantization.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "int8.onnx"),
        Reader(_samples(folder / "samples.npz", job.names)),
        quant_format=quantization.QuantFormat.QDQ,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=job.reduce_range,
        nodes_to_exclude=list(job.exclude),
    )


def _samples(path: Path, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    with np.load(path, allow_pickle=False) as file:
        count = len(file.files) // len(names)
        for run in range(count):
            yield {n: file[f"arr_{run * len(names) + i}"] for i, n in enumerate(names)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
