"""Compare an int8 model in exact mode here with the same bytes on emulated ARM CPUs, code by code.

Usage: ``python benchmarks/exactness.py [INPUTS]`` writes ``benchmarks/results/exactness.json``.
Every output of a QuantizeLinear is made an output of the model, which leaves the fused kernels as
they are; the first node whose codes differ is named. The runtime here leaves many nodes of signed
activations in float, so the reference of such a model is its twin with unsigned ones: the same
codes plus 128.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import msgspec
import nets
import numpy as np
import onnx
from schemes import TARGETS, quantized

from edgepack.base.files import write_whole
from edgepack.devices.qemu import Qemu
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Signature
from edgepack.spec.target import load

RESULT = Path(__file__).parent / "results" / "exactness.json"
NETWORKS = {
    "mobilenet_v2-96-0.5": lambda: nets.mobilenet_v2(96, 0.5),
    "resnet18-96-narrow": lambda: nets.resnet18(96, 16, 10),
    "ds_cnn": nets.ds_cnn,
}
SIZES = {np.dtype(np.uint8), np.dtype(np.int8)}


def tapped(model: bytes) -> bytes:
    """Make every quantized tensor an output, in topological order."""
    proto = onnx.load_from_string(model)
    known = {each.name for each in proto.graph.output}
    kinds = {each.name: each.data_type for each in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0] not in known:
            kind = kinds[node.input[2]]
            proto.graph.output.append(
                onnx.helper.make_tensor_value_info(node.output[0], kind, None)
            )
    return bytes(proto.SerializeToString())


def makers(model: bytes) -> dict[str, str]:
    """Return the operator and node behind each quantized tensor."""
    nodes = onnx.load_from_string(model).graph.node
    by = {out: f"{node.op_type} {node.name}" for node in nodes for out in node.output}
    return {
        n.output[0]: by.get(n.input[0], "input") for n in nodes if n.op_type == "QuantizeLinear"
    }


def as_unsigned(run: Mapping[str, Any]) -> dict[str, Any]:
    """Move signed codes to where those of the unsigned twin lie."""
    return {
        name: (value.astype(np.int16) + 128).astype(np.uint8) if value.dtype == np.int8 else value
        for name, value in run.items()
    }


def compare(here: list[Any], there: list[Any], maker: Mapping[str, str]) -> dict[str, object]:
    """Return how far codes and decisions are apart, and where they first part."""
    codes = [name for name, value in here[0].items() if value.dtype in SIZES]
    first: dict[str, list[int]] = {}
    largest, differ, total, equal = 0, 0, 0, 0
    for mine, theirs in zip(here, there, strict=True):
        apart = {k: np.abs(mine[k].astype(int) - theirs[k].astype(int)) for k in codes}
        largest = max(largest, *(int(each.max()) for each in apart.values()))
        differ += sum(int((each > 0).sum()) for each in apart.values())
        total += sum(each.size for each in apart.values())
        at = next((k for k in codes if apart[k].any()), None)
        if at is not None:
            first.setdefault(at, []).append(int(apart[at].max()))
        equal += all(np.array_equal(mine[k], theirs[k]) for k in mine)
    same = [int(a["y"].argmax()) == int(b["y"].argmax()) for a, b in zip(here, there, strict=True)]
    return {
        "inputs": len(here),
        "quantized_tensors": len(codes),
        "inputs_with_every_bit_equal": equal,
        "codes": total,
        "codes_that_differ": differ,
        "largest_difference_in_codes": largest,
        "first_differs_at": {
            maker[name]: {"inputs": len(by), "by_codes": max(by)} for name, by in first.items()
        },
        "largest_output_difference": max(
            float(np.abs(a["y"].astype(float) - b["y"].astype(float)).max())
            for a, b in zip(here, there, strict=True)
        ),
        "same_decision": sum(same),
    }


def main() -> None:
    """Run every network in every target's scheme on every CPU."""
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    found: dict[str, dict[str, object]] = {}
    for name, make in NETWORKS.items():
        model = make().SerializeToString()
        for target in TARGETS.values():
            data = tapped(quantized(model, load(target).int8))
            twin = msgspec.structs.replace(load(target).int8, activations="uint8")
            session = Session(tapped(quantized(model, twin)), Options(exact=True))
            rng = np.random.default_rng(5)
            shape = [int(dim) for dim in session.inputs[0].shape]  # type: ignore[arg-type]
            samples = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(inputs)]
            here = [session.run(sample) for sample in samples]
            made = Session(data)
            signature = Signature(made.inputs, made.outputs)
            maker = makers(data)
            for cpu in TARGETS:
                there = [run[0] for run in Qemu(cpu).run(data, signature, [[s] for s in samples])]
                row = compare(here, [as_unsigned(run) for run in there], maker)
                found.setdefault(f"{name}, {target}", {})[cpu] = row
                print(name, target, cpu, row, file=sys.stderr)
                command = shlex.join(["python", "benchmarks/exactness.py", *sys.argv[1:]])
                result = {"command": command, "runs": found}
                write_whole(RESULT, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
