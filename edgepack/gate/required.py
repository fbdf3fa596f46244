"""Which operators a runtime that is built for one model alone must hold.

ONNX Runtime's ``build.py --include_ops_by_config`` leaves all other kernels out. It takes lines of
``domain;opset;operators``, and keeps each kernel whose versions include that opset.
"""

import tempfile
from itertools import groupby
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from edgepack.runtime.session import Options, Session

_LEVELS: tuple[Literal["extended", "all"], ...] = ("extended", "all")
_BLOCKED = "com.microsoft.nchwc"
"""Domain of convolutions over blocks of channels: the runtime makes them on x86-64 alone."""


def required_operators(model: ir.Model, data: bytes, arch: str) -> bytes:
    """Return the operators of a model, and those that the runtime's optimizer makes of them.

    Both are needed: nodes get their kernels before they are fused. The optimizer is that of the
    runtime here; its last level, which changes layouts, counts beside the one before, since other
    CPUs have other layouts.

    Args:
        model: The model.
        data: Its bytes.
        arch: CPU architecture that it will run on.

    Raises:
        ModelError: The runtime refuses the model.
    """
    found = _operators(model)
    with tempfile.TemporaryDirectory() as folder:
        for level in _LEVELS:
            path = Path(folder, f"{level}.onnx")
            Session(data, Options(level=level, save_optimized=path))
            found |= _operators(ir.load(path))
    if arch != "x86_64":
        found = {each for each in found if each[0] != _BLOCKED}
    lines = [
        f"{domain};{opset};{','.join(op for *_, op in group)}\n"
        for (domain, opset), group in groupby(sorted(found), lambda each: each[:2])
    ]
    return "".join(lines).encode()


def _operators(model: ir.Model) -> set[tuple[str, int, str]]:
    """Return domain, opset and name, subgraphs included."""
    opsets = model.opset_imports
    return {
        (node.domain or "ai.onnx", opsets[node.domain], node.op_type)
        for node in model.graph.all_nodes()
    }
