"""Models with a known slow-down: N equal layers, so that N + k have exactly k / N more work.

Usage: ``python benchmarks/chain.py FOLDER LAYERS ...`` writes ``FOLDER/chain_LAYERS.onnx``.
A layer is a 3 x 3 convolution and a Relu, about 50 us on one core at the default size. The fixed
cost of a call makes the true slow-down a little smaller than k / N.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def chain(layers: int, channels: int = 16, side: int = 28) -> onnx.ModelProto:
    """Return a model of so many layers; the first ones are the same in all of them."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for number in range(layers):
        kernel = rng.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{number}"))
        inner, out = f"c{number}", "y" if number == layers - 1 else f"r{number}"
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [inner], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [inner], [out]))
        last = out
    shape = [1, channels, side, side]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(folder: str, *layers: str) -> None:
    """Write the models."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in map(int, layers):
        onnx.save(chain(number), Path(folder) / f"chain_{number}.onnx")


if __name__ == "__main__":
    main(*sys.argv[1:])
