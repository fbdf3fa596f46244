"""Count what each int8 scheme costs on each emulated ARM CPU, over networks of many kinds.

Usage: ``python benchmarks/schemes.py [CPU ...]`` adds to ``benchmarks/results/schemes.json`` what
it lacks, so that an interrupted sweep goes on. Counts repeat to 0.1 % whatever the machine does.
Ranges come from normal noise: they decide no count.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import msgspec
import numpy as np
from nets import SWEPT

from edgepack import passes
from edgepack.base.files import write_whole
from edgepack.calibration.collect import collect
from edgepack.data.samples import Item
from edgepack.devices.qemu import Qemu
from edgepack.graph.census import signature
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from edgepack.passes.quantize_dynamic import QuantizeDynamic
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.tidy import Tidy
from edgepack.spec.target import Int8, load

RESULT = Path(__file__).parent / "results" / "schemes.json"
TARGETS = {"cortex-a53": "arm64", "cortex-a76": "arm64-dotprod", "armv8.6-i8mm": "arm64-i8mm"}
SCHEMES: Mapping[str, Int8 | None] = {
    "float": None,
    "u8s8": Int8("uint8"),
    "u8u8": Int8("uint8", weights="uint8"),
    "s8s8": Int8("int8"),
    "u8u8, depthwise u8s8": Int8("uint8", weights="uint8", depthwise="int8"),
    "s8s8 symmetric": Int8("int8", symmetric=True),
}
"""Activations, then weights; a scale per output channel. The last is here to be seen to lose."""


def quantized(model: bytes, facts: Int8 | None) -> bytes:
    """Return the model in one scheme, by the project's own passes."""
    parsed = parse(model, "the network").model
    base = load("arm64")
    rng = np.random.default_rng(0)
    inputs = signature(parsed).inputs
    shapes = {spec.name: [int(dim) for dim in spec.shape] for spec in inputs}
    data = [
        Item(({k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()},), (), i)
        for i in range(2)
    ]
    context = passes.Context(
        msgspec.structs.replace(base, int8=facts),
        lambda net, names: collect(net, names, data, signature(net)),
    )
    parsed, _ = passes.apply(Tidy(), "tidy", parsed, context)
    if facts is not None:
        parsed, _ = passes.apply(QuantizeStatic(), "quantize_static", parsed, context)
        parsed, _ = passes.apply(QuantizeDynamic(), "quantize_dynamic", parsed, context)
    return to_bytes(parsed)


def main() -> None:
    """Count every network in every scheme on every CPU that was asked for."""
    found = json.loads(RESULT.read_bytes())["counts"] if RESULT.exists() else {}
    for name, make in SWEPT.items():
        model = make().SerializeToString()
        for scheme, facts in SCHEMES.items():
            lacking = [
                cpu
                for cpu in sys.argv[1:] or TARGETS
                if scheme not in found.get(cpu, {}).get(name, {})
            ]
            if not lacking:
                continue
            artifact = quantized(model, facts)
            wanted = signature(parse(artifact, name).model)
            rng = np.random.default_rng(1)
            sample = {
                spec.name: rng.standard_normal([int(d) for d in spec.shape]).astype(np.float32)
                for spec in wanted.inputs
            }
            for cpu in lacking:
                counts = Qemu(cpu).count(artifact, wanted, sample)
                row = found.setdefault(cpu, {}).setdefault(name, {})
                row[scheme] = {"total": counts.total, **counts.classes}
                save(found)
                print(cpu, name, scheme, counts.total, file=sys.stderr, flush=True)


def save(found: dict[str, dict[str, dict[str, dict[str, int]]]]) -> None:
    """Write all counts, with the geometric mean of each scheme over float."""
    means = {
        cpu: {
            scheme: round(
                float(
                    np.exp(
                        np.mean(
                            [
                                np.log(row[scheme]["total"] / row["float"]["total"])
                                for row in rows.values()
                                if {scheme, "float"} <= row.keys()
                            ]
                            or [0]
                        )
                    )
                ),
                4,
            )
            for scheme in SCHEMES
        }
        for cpu, rows in found.items()
    }
    result = {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}".strip(),
        "runtime": Qemu("cortex-a53").runtime,
        "unit": "instructions of one inference, batch 1, one thread",
        "geometric_mean_over_float": means,
        "counts": found,
    }
    write_whole(RESULT, json.dumps(result, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
