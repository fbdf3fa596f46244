"""What is wrong with a torch model, found before, while or after it is traced."""

import contextlib
import io
import logging
import os
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import sympy  # type: ignore[import-untyped]
import torch

from edgepack.base.errors import ModelError

RAISED = (
    *(RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError),
    *(ArithmeticError, ImportError),
)
"""What a user's ``forward``, torch.export and the exporters raise."""
_QUANTIZED_HOMES = (
    *("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized"),
    *("torch.ao.quantization.fake_quantize", "torchao.quantization"),
)
_HERE = Path(__file__).parents[1]
_FOREIGN = (
    *(Path(torch.__file__).parent, Path(sympy.__file__).parent),
    *(Path(contextlib.__file__).parent / name for name in ("contextlib.py", "functools.py")),
)
_HINT_FLOW = "use torch.where or torch.cond, or split the model there"


def refuse_quantized(module: torch.nn.Module) -> None:
    """Refuse modules that torch has quantized: their packed operators have no ONNX form.

    Raises:
        ModelError: Names the first such module.
    """
    for name, child in module.named_modules():
        home = type(child).__module__
        if home.startswith(_QUANTIZED_HOMES) or hasattr(child, "_packed_params"):
            raise _quantized(f"module {name or 'itself'!r} is a {home}.{type(child).__name__}")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_quantized:
            raise _quantized(f"tensor {name!r} is {tensor.dtype}")


def refuse_quantized_program(program: torch.export.ExportedProgram) -> None:
    """Refuse programs with packed quantized operators; raises as ``refuse_quantized`` does."""
    for node in program.graph.nodes:
        if str(node.target).startswith("quantized."):
            raise _quantized(f"the program calls {node.target}")


def _quantized(text: str) -> ModelError:
    return ModelError(
        "E-TORCH-QUANT",
        f"torch has quantized this model already: {text}",
        hint="give the float model; edgepack quantizes after the export",
    )


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[bool]:
    """Put a module in eval mode without gradients, and restore each part's mode afterwards.

    Torch's fused attention layers are off meanwhile: they are taken only in this mode, and no
    exporter knows them (``aten._transformer_encoder_layer_fwd``).

    Yields:
        Whether any part of it was in training mode.
    """
    modes = {child: child.training for child in module.modules()}
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for child in modes:
        child.training = False  # not eval(): exported programs and some users' modules refuse it
    try:
        with torch.no_grad():
            yield any(modes.values())
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for child, mode in modes.items():
            child.training = mode


@contextlib.contextmanager
def quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Keep torch from talking: warnings are collected, logs and prints dropped.

    Its exporters print graphs and log what optional packages are missing; its C++ parts write
    past Python to the file behind stdout.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            _silent_stdout(),
        ):
            warnings.simplefilter("always")
            yield caught
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    """Send what is written to file 1 nowhere."""
    try:
        kept = os.dup(1)
    except OSError:  # closed
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def of_torch(filename: str) -> bool:
    """Tell whether a file is part of torch."""
    return _inside(filename, _FOREIGN[0])


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and what caused it, the outermost first."""
    found = [error]
    while (cause := found[-1].__cause__) is not None:
        found.append(cause)
    return found


def is_data_dependent(error: BaseException) -> bool:
    """Tell whether torch.export stopped at a decision that depends on values of tensors."""
    return any("data-dependent" in str(link) for link in chain(error))


def control_flow(where: str) -> ModelError:
    """Return the error for a branch that a trace cannot follow."""
    return ModelError("E-CTRL-FLOW", f"{where} depends on the values of tensors", hint=_HINT_FLOW)


def user_line(error: BaseException) -> str:
    """Return ``file.py:28 (if x.sum() > 0:)`` for the user's line that an exception came from."""
    frames = [frame for link in chain(error) for frame in traceback.extract_tb(link.__traceback__)]
    ours = [index for index, frame in enumerate(frames) if _inside(frame.filename, _HERE)]
    called = frames[ours[-1] + 1 :] if ours else frames
    theirs = [f for f in called if not _inside(f.filename, *_FOREIGN) and "<" not in f.filename]
    if not theirs:
        return "the model"
    last = theirs[-1]
    return f"{shown(last.filename)}:{last.lineno}" + (f" ({last.line})" if last.line else "")


def shown(filename: str) -> str:
    """Return a path as the user would type it: relative where it is inside the current folder."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _inside(filename: str, *folders: Path) -> bool:
    return any(Path(filename).is_relative_to(folder) for folder in folders)


def reason(error: BaseException) -> str:
    """Return the first line of what went wrong first, without the folders of this machine."""
    first = chain(error)[-1]
    line = next((text for text in str(first).splitlines() if text.strip()), "no message")
    text = re.sub(r"(?:/[^/\s]+)+/", "", line.strip())
    return f"{type(first).__name__}: {text[:200]}"
