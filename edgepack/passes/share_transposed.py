"""Ship a matrix and its transpose once: one of the two is computed when the runtime loads the file.

A tied embedding leaves exporters as two weights, the table and its transpose. The runtime folds the
Transpose of a constant before anything runs, so that memory and latency stay as they were.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from edgepack.base.files import sha256
from edgepack.base.units import size
from edgepack.graph.constants import constant
from edgepack.passes import Context, Edit, Keeps
from edgepack.spec.step import Step

_KINDS = (np.float32, np.float16, np.int8, np.uint8)


class ShareTransposed(Step, frozen=True):
    """Replace a weight by the Transpose of another that holds the same numbers.

    It goes last: a quantizer looks for weights, and a computed tensor is none.

    Attributes:
        min_bytes: Weights below this stay; a node takes about a hundred bytes.
    """

    min_bytes: int = 4096
    keeps: ClassVar[Keeps] = "values"

    def rewrite(self, model: ir.Model, ctx: Context) -> Iterator[Edit]:
        """Keep the first of each pair, in order of name."""
        graph, known = model.graph, dict[tuple[object, ...], ir.Value]()
        first = next(iter(graph), None)
        for name in sorted(graph.initializers):
            value = graph.initializers[name]
            array = constant(value)
            if array is None or array.ndim != 2 or array.dtype not in _KINDS or first is None:
                continue
            if array.nbytes < self.min_bytes or value.is_graph_output():
                continue
            turned = np.ascontiguousarray(array.T)
            if (twin := known.get(_key(turned))) is None:
                known.setdefault(_key(array), value)
                continue
            node = ir.node("Transpose", [twin], {"perm": [1, 0]}, name=f"{name}.shared")
            out = node.outputs[0]
            out.name, out.type, out.shape = f"{name}.shared", value.type, value.shape
            graph.insert_before(first, node)
            ir.convenience.replace_all_uses_with(value, out)
            yield Edit(name, f"is {twin.name} transposed: {size(array.nbytes)} less to ship")


def _key(array: np.ndarray) -> tuple[object, ...]:
    return array.shape, array.dtype.str, sha256(array.tobytes())
