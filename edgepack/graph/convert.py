"""onnx's own converters, in a child process: on a damaged model they were seen to crash.

Source: a fuzzer with two changed bytes in an opset 11 model; ``convert_version`` of onnx 1.23.2
reads an attribute of another type than its field says and dies by signal 11.
"""

import subprocess
import sys

import onnx

from edgepack.base.errors import ModelError
from edgepack.graph.wellformed import opset

OLDEST_OPSET = 13
"""Below it the models differ in kind: no per-channel scales, axes as attributes."""
OLDEST_IR = 8
"""The IR version of opset 15 to 18; every runtime since 2022 reads it."""
_SECONDS = 300
_INLINE = "import onnx.inliner; out = onnx.inliner.inline_local_functions(model, True)"
_UPGRADE = (
    "import onnx.version_converter; "
    f"out = onnx.version_converter.convert_version(model, {OLDEST_OPSET})"
)
_CHILD = """
import sys, onnx
model = onnx.ModelProto.FromString(sys.stdin.buffer.read())
try:
    {step}
except Exception as error:
    sys.exit(str(error).strip().partition(chr(10))[0] or type(error).__name__)
sys.stdout.buffer.write(out.SerializeToString())
"""


def inline(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Replace calls of the model's own functions by their bodies.

    Raises:
        ModelError: A function cannot be inlined.
    """
    if not model.functions:
        return model, []
    names = ", ".join(sorted({function.name for function in model.functions}))
    try:
        flat = _in_child(model, _INLINE)
    except ValueError as error:
        raise ModelError(
            "E-MODEL-CORRUPT", f"functions {names} cannot be inlined: {error}"
        ) from error
    if flat.functions:
        raise ModelError("E-MODEL-CORRUPT", f"functions {names} cannot be inlined")
    return flat, [f"inlined the functions {names}"]


def upgrade(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Raise an opset below ``OLDEST_OPSET`` to it; the caller compares outputs before and after.

    Raises:
        ModelError: ONNX's converter has no way up.
    """
    notes, before = [], opset(model)
    model.ir_version = max(model.ir_version, OLDEST_IR)  # older ones want weights as inputs
    if before < OLDEST_OPSET:
        try:
            model = _in_child(model, _UPGRADE)
        except ValueError as error:
            raise ModelError(
                "E-OPSET",
                f"opset {before} cannot be raised to {OLDEST_OPSET}: {error}",
                hint="export the model again with opset 18",
            ) from error
        notes.append(f"opset {before} raised to {OLDEST_OPSET}")
    return model, notes


def _in_child(model: onnx.ModelProto, step: str) -> onnx.ModelProto:
    """Run one line of Python on ``model`` elsewhere and return what it made.

    Raises:
        ValueError: The step refused the model, crashed or took too long.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD.format(step=step)],
            input=model.SerializeToString(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"no answer within {_SECONDS} s") from error
    if done.returncode < 0:
        raise ValueError(f"the converter crashed (signal {-done.returncode})")
    if done.returncode > 0:
        raise ValueError(done.stderr.decode(errors="replace").strip() or "no reason given")
    found: onnx.ModelProto = onnx.ModelProto.FromString(done.stdout)
    return found
