"""Count and time the forms that a linear layer on a stack of matrices can take in static int8.

Usage: ``python benchmarks/avx2.py benchmarks/linear_forms.py`` writes
``benchmarks/results/linear_forms.json``: instructions on emulated ARM CPUs, which repeat whatever
the machine does, and ratios to float of thread CPU time on AVX2 kernels.
"""

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import msgspec
import numpy as np
import onnx
from nets import Builder, transformer
from neutral_timer import one_round
from onnx import numpy_helper

from edgepack import passes
from edgepack.base.files import write_whole
from edgepack.calibration.collect import collect
from edgepack.data.samples import Item
from edgepack.devices.qemu import Qemu
from edgepack.graph.census import signature
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.spec.target import load

RESULT = Path(__file__).parent / "results" / "linear_forms.json"
CPUS = {"cortex-a53": "arm64", "cortex-a76": "arm64-dotprod"}
ROUNDS = 9
FORMS = ("float", "product and Add", "the same, bias of three axes", "Gemm over rows")
"""The second is what a target without integer biases gets; the third stops the runtime from making
a Gemm with a float bias of it."""


def mlp(rows: int = 64, width: int = 256, layers: int = 4) -> onnx.ModelProto:
    """Return layers with Relu between, on one stack of rows."""
    b, x = Builder(), "x"
    for _ in range(layers):
        x = b.dense(b.node("Relu", b.dense(x, width, 4 * width)), 4 * width, width)
    return b.model(x, (1, rows, width))


NETS = {"transformer-64x256": transformer, "mlp-64x256": mlp}


def formed(name: str, form: str, target: str) -> bytes:
    """Return a network in one form, by the project's own passes."""
    model = NETS[name]()
    if "three axes" in form:
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 1 and any(
                tensor.name in n.input for n in model.graph.node if n.op_type == "Add"
            ):
                array = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(array[None, None], tensor.name))
    parsed = parse(model.SerializeToString(), name).model
    if form == "float":
        return to_bytes(parsed)
    base = load(target)
    assert base.int8 is not None
    bias = "int32" if form == "Gemm over rows" else "float32"
    rng = np.random.default_rng(0)
    data = [Item(({"x": rng.standard_normal((1, 64, 256)).astype(np.float32)},), (), 0)]
    context = passes.Context(
        msgspec.structs.replace(base, int8=msgspec.structs.replace(base.int8, bias=bias)),
        lambda net, names: collect(net, names, data, signature(net)),
    )
    return to_bytes(passes.apply(QuantizeStatic(), "quantize_static", parsed, context)[0])


def counted(name: str, x: np.ndarray) -> dict[str, dict[str, float]]:
    """Return millions of instructions of each form on each CPU."""
    found: dict[str, dict[str, float]] = {}
    for cpu, target in CPUS.items():
        for form in FORMS:
            data = formed(name, form, target)
            total = Qemu(cpu).count(data, signature(parse(data, name).model), {"x": x}).total
            found.setdefault(cpu, {})[form] = round(total / 1e6, 2)
    return found


def timed(name: str, x: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the ratio to float of each form on this machine: median, and quartiles of rounds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.onnx" for index in range(len(FORMS))]
        for path, form in zip(paths, FORMS, strict=True):
            path.write_bytes(formed(name, form, "x86_64"))
        models = [str(path) for path in paths]
        rounds = np.array([one_round(models, {"x": x}, turn) for turn in range(ROUNDS)])
    low, mid, high = np.percentile(rounds / rounds[:, :1], [25, 50, 75], axis=0)
    return {
        form: {"ratio": round(mid[i], 3), "quartiles": [round(low[i], 3), round(high[i], 3)]}
        for i, form in enumerate(FORMS)
    }


def main() -> None:
    """Count and time every network in every form."""
    x = np.random.default_rng(1).standard_normal((1, 64, 256)).astype(np.float32)
    result: dict[str, object] = {
        "command": f"python {shlex.join(sys.argv)}",
        "load_average": os.getloadavg(),
        "rounds": ROUNDS,
        "million_instructions": {name: counted(name, x) for name in NETS},
        "time_over_float": {name: timed(name, x) for name in NETS},
    }
    write_whole(RESULT, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
