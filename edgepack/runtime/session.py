"""The one door to ONNX Runtime: bytes in, arrays out, nothing falls back in silence."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError, MachineError, ModelError, SafetyError
from edgepack.bundle.selfcontained import external
from edgepack.spec.signature import Sample, TensorSpec

_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disable": "ORT_DISABLE_ALL",
}
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_ORDERS = {"default": "DEFAULT", "priority": "PRIORITY_BASED"}
_QUIET = 4  # below "fatal" the runtime prints what its exception says again, on stderr


@dataclass(frozen=True, slots=True)
class Options:
    """How to open a session.

    Attributes:
        threads: Threads of one operator; 0 lets the runtime take every core it sees.
        exact: Integer products without 16-bit sums, as on ARM and with VNNI; slower. Only x86
            differs. Source: ``session.x64quantprecision``, onnxruntime#14642.
        level: Graph optimizations.
        provider: The execution provider that must run the model.
        entries: Further session config entries.
        save_optimized: Where to write the graph as the runtime changed it.
        profile: Where to begin the name of a Chrome trace of every run; slower.
        order: Of nodes whose inputs are there, ``priority`` runs that of the lowest number first;
            ``default`` runs what a walk back from the last output comes by.
        format: Of the model's bytes; ``ORT`` is what a device made of its own model.
        dimensions: Sizes of dimensions that the model leaves open; those of outputs follow.
    """

    threads: int = 1
    exact: bool = False
    level: Literal["all", "extended", "basic", "disable"] = "all"
    provider: str = "CPUExecutionProvider"
    entries: Mapping[str, str] = field(default_factory=dict)
    save_optimized: Path | None = None
    profile: Path | None = None
    order: Literal["default", "priority"] = "default"
    format: Literal["ONNX", "ORT"] = "ONNX"
    dimensions: Mapping[str, int] = field(default_factory=dict)


def providers() -> tuple[str, ...]:
    """Return the execution providers which the installed runtime was built with."""
    return tuple(_onnxruntime().get_available_providers())


def version() -> str:
    """Return the version of the runtime, and import it."""
    return str(_onnxruntime().__version__)


class Session:
    """A model, open in the runtime.

    Attributes:
        inputs: As the runtime sees them, in the order of the model.
        outputs: The same.
        runtime_version: Of the ONNX Runtime that opened it.
    """

    def __init__(
        self,
        model: bytes,
        options: Options | None = None,
        where: str = "model",
        *,
        self_contained: bool = False,
    ) -> None:
        """Open a model.

        Args:
            model: The bytes of a self-contained ONNX file.
            options: How; None for one thread of the CPU.
            where: What errors call it.
            self_contained: Whether that was checked, as it is in a bundle; else it is done here.

        Raises:
            ModelError: The runtime refuses the model.
            MachineError: The provider asked for is not there, or does not run the model.
            SafetyError: The model keeps weights outside itself.
        """
        options = options or Options()
        ort = _onnxruntime()
        if options.provider not in (there := ort.get_available_providers()):
            raise _absent(options.provider, there)
        if not self_contained:
            _refuse_external(model, where)
        self._errors = _errors(ort)
        self._where = where
        try:
            self._session = ort.InferenceSession(
                model, _session_options(ort, options), providers=[options.provider]
            )
        except self._errors as error:
            raise ModelError(
                "E-MODEL-LOAD", f"the runtime refuses {where}: {_first_line(error)}"
            ) from error
        self._session.disable_fallback()
        self._session._model_bytes = None  # noqa: SLF001 - kept for the fallback, as large as it is
        if (running := self._session.get_providers())[0] != options.provider:
            raise _absent(options.provider, running)
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))
        self.runtime_version = version()
        self._names = [spec.name for spec in self.outputs]

    def run(
        self, sample: Sample, outputs: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[np.generic]]:
        """Run the model once.

        Args:
            sample: One array per input.
            outputs: The outputs wanted; None for all.

        Raises:
            DataError: The sample does not fit the inputs.
            ModelError: The model fails on this sample.
        """
        names = self._names if outputs is None else list(outputs)
        try:
            values = self._session.run(names, sample if type(sample) is dict else dict(sample))
        except self._errors as error:
            text = f"{self._where} does not run: {_first_line(error)}"
            if isinstance(error, ValueError) or type(error).__name__ == "InvalidArgument":
                raise DataError("E-INPUT", text) from error
            raise ModelError("E-MODEL-RUN", text) from error
        return dict(zip(names, values, strict=True))

    def bound(self, sample: Sample) -> Callable[[], list[npt.NDArray[np.generic]]]:
        """Return a call of the runtime on one sample and nothing else, for whoever times it.

        Its errors are the runtime's own: ``run`` the sample before.
        """
        return functools.partial(self._session.run, self._names, dict(sample))

    def end_profile(self) -> Path:
        """Write the trace of a session that was opened with ``profile``, and return its file."""
        return Path(self._session.end_profiling())


def _onnxruntime() -> ModuleType:
    """Import the runtime when it is first needed: it costs 0.17 s of CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error  # pybind11 turned it into "initialization failed"
        raise MachineError(
            "E-RUNTIME", f"cannot import onnxruntime: {error}", hint="pip install onnxruntime"
        ) from error
    module: ModuleType = onnxruntime
    return module


def _errors(ort: ModuleType) -> tuple[type[Exception], ...]:
    """Collect what the runtime raises; its own kinds share no base class but ``Exception``."""
    found = vars(ort.capi.onnxruntime_pybind11_state).values()
    own = [each for each in found if isinstance(each, type) and issubclass(each, Exception)]
    return (*own, ValueError, RuntimeError)


def _session_options(ort: ModuleType, options: Options) -> Any:
    session = ort.SessionOptions()
    session.intra_op_num_threads = options.threads
    session.inter_op_num_threads = 1
    session.log_severity_level = _QUIET
    session.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[options.level])
    session.execution_order = getattr(ort.ExecutionOrder, _ORDERS[options.order])
    if options.save_optimized is not None:
        session.optimized_model_filepath = str(options.save_optimized)
    if options.profile is not None:
        session.enable_profiling = True
        session.profile_file_prefix = str(options.profile)
    entries = dict(options.entries)
    if options.exact:
        entries["session.x64quantprecision"] = "1"
    # Without this the bytes themselves choose a second parser, that of the .ort format.
    entries["session.load_model_format"] = options.format
    for key, value in entries.items():
        session.add_session_config_entry(key, value)
    for name, size in options.dimensions.items():
        session.add_free_dimension_override_by_name(name, size)
    return session


def _refuse_external(model: bytes, where: str) -> None:
    """Refuse weights outside: from bytes, a location would be looked up in the current folder."""
    try:
        outside = external(model)
    except ValueError as error:
        raise ModelError("E-MODEL-LOAD", f"{where} is damaged: {error}") from error
    if outside:
        raise SafetyError("E-EXTERNAL-DATA", f"{where} keeps weights outside itself")


def _absent(provider: str, there: Sequence[str]) -> MachineError:
    return MachineError(
        "E-EP-MISSING",
        f"the runtime here cannot run {provider!r}, it offers {', '.join(there)}",
        hint="install the onnxruntime wheel built with it, and its drivers",
    )


def _spec(value: Any) -> TensorSpec:
    kind = str(value.type).removeprefix("tensor(").removesuffix(")")
    return TensorSpec(value.name, _DTYPES.get(kind, kind), tuple(value.shape))


def _first_line(error: Exception) -> str:
    """Return the first line of a message that may quote names from a hostile model."""
    line = str(error).strip().partition("\n")[0]
    return "".join(char if char.isprintable() else "?" for char in line)
