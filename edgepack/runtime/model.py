"""A bundle as a model: ``load``, ``run``, ``selftest``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError, MachineError, SafetyError, nearest
from edgepack.bundle.golden import Golden, SelfTest, judge
from edgepack.bundle.open import Bundle, open_bundle
from edgepack.bundle.signature import Key
from edgepack.runtime import machine
from edgepack.runtime.carry import Carry, Outputs
from edgepack.runtime.raw import Preprocessor, Raw, as_raw
from edgepack.runtime.saturation import saturates
from edgepack.runtime.session import Options, Session, version
from edgepack.spec.manifest import Manifest
from edgepack.spec.preprocess import Rule
from edgepack.spec.signature import Sample, Signature, TensorSpec


class Model:
    """A loaded bundle.

    Where the model carries state, samples may leave the state inputs out: the model then feeds
    its own state from one run to the next, zeros first and after ``reset()``. A run that is given
    all state inputs leaves that state alone. Carrying is for one sequence and one thread.
    """

    def __init__(self, bundle: Bundle, session: Session) -> None:
        # Not the bundle itself: its copy of the model has served, and goes.
        self._manifest, self._golden = bundle.manifest, bundle.golden
        self._session = session
        self._where = str(bundle.path)
        self._carry = Carry(Signature(self.inputs, self.outputs, dict(self.state)))
        self._raw = preprocessor(bundle)

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._manifest

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """All inputs, state included."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """All outputs, state included."""
        return self.manifest.outputs

    @property
    def state(self) -> Mapping[str, str]:
        """Output -> the input it feeds in the next run."""
        return self.manifest.state

    def reset(self) -> None:
        """Start a new sequence: the carried state is zeros again, and so is past sound."""
        self._carry.reset()
        if self._raw is not None:
            self._raw.reset()

    @property
    def preprocessing(self) -> Rule | None:
        """How raw input becomes a sample, where the project declared it."""
        return None if self._raw is None else self._raw.rule

    def preprocess(self, raw: Raw) -> Sample:
        """Return what the model takes, made from pixels, a text, or one whole frame of sound.

        Raises:
            DataError: It is no such thing, or the bundle does not say how.
        """
        return self._preprocessor().sample(raw)

    def run_raw(self, raw: Raw) -> Outputs:
        """Run once on pixels, a text, or new samples of sound.

        Args:
            raw: uint8 pixels, ``(height, width)`` or ``(height, width, 1, 3 or 4)``; a str; or
                int16 samples, one hop of them: the frame begins with those of the runs before.

        Returns:
            Output -> array, state included.

        Raises:
            DataError: As ``preprocess``.
        """
        return self.run(self._preprocessor().next(raw))

    def run(self, sample: Sample) -> Outputs:
        """Run once.

        Args:
            sample: Input -> array, batch dimension included. All state inputs or none.

        Returns:
            Output -> array, state included.

        Raises:
            DataError: A name, dtype or shape is not what the model takes.
        """
        if not hasattr(sample, "items"):
            hint = "give {name: array}, or call the model itself with one array"
            raise DataError("E-INPUT", f"a sample is a {type(sample).__name__}", hint=hint)
        arrays = {name: np.asarray(value) for name, value in sample.items()}
        carrying = bool(self.state) and arrays.keys().isdisjoint(self.state.values())
        expected = self._carry.signature.fed if carrying else self.inputs
        _check_names(arrays, expected, self.inputs)
        for spec in expected:
            _check(spec, arrays[spec.name])
        if not carrying:
            return self._session.run(arrays)
        outputs = self._session.run(self._carry.fill(arrays))
        self._carry.keep(outputs)
        return outputs

    def __call__(self, sample: Sample | npt.ArrayLike) -> Outputs:
        """Run once; with one input besides state, its array alone will do.

        Raises:
            DataError: As ``run``, and an array alone where the model takes several.
        """
        if isinstance(sample, Mapping):
            return self.run(sample)
        fed = self._carry.signature.fed
        if len(fed) != 1:
            names = ", ".join(spec.name for spec in fed)
            raise DataError(
                "E-INPUT", f"the model takes {len(fed)} inputs", hint=f"give a dict of {names}"
            )
        return self.run({fed[0].name: np.asarray(sample)})

    def selftest(self) -> SelfTest:
        """Run the golden samples on this very machine and compare.

        Raises:
            SafetyError: An output is further from its golden value than its tolerance.
        """
        golden = self._golden
        remake_golden(golden, self._raw, self._where)
        outputs = [self._session.run(sample) for sample in golden.samples]
        test = judge(golden, self.manifest.golden.tolerance, outputs)
        test.require(f"{self._where!r} on {machine.arch()}")
        return test

    def _preprocessor(self) -> Preprocessor:
        if self._raw is None:
            raise DataError(
                "E-INPUT",
                f"{self._where!r} does not say how raw input becomes a sample",
                hint="declare it in [preprocess] of edgepack.toml and build again, or call run",
            )
        return self._raw


def preprocessor(bundle: Bundle) -> Preprocessor | None:
    """Return what makes samples of raw input, where the bundle says how."""
    if bundle.preprocess is None:
        return None
    manifest = bundle.manifest
    face = Signature(manifest.inputs, manifest.outputs, dict(manifest.state))
    return Preprocessor(bundle.preprocess, bundle.extras, face)


def remake_golden(golden: Golden, raw: Preprocessor | None, where: str) -> None:
    """Make the golden samples that come from raw inputs again; nothing to do without a rule.

    Raises:
        SafetyError: One of them is not the same, bit for bit; ``where`` names the bundle.
    """
    if raw is None:
        return
    for i, stored in enumerate(golden.raw[raw.rule.input]):
        for name, made in raw.sample(as_raw(raw.rule, stored)).items():
            if made.tobytes() != golden.inputs[name][i, ...].tobytes():
                raise SafetyError(
                    "E-GOLDEN", f"{where!r}: raw input {i} becomes another {name!r} here"
                )


def load(path: Path | str, *, threads: int | None = None, public_key: Key | None = None) -> Model:
    """Open a bundle, verified, ready to run.

    Args:
        path: The ``.edgepack`` file.
        threads: Threads to use; None for what the manifest says, 0 for the usable cores, at
            most four.
        public_key: An Ed25519 key, a PEM file or its content as bytes; the bundle must then be
            signed with it (``edgepack sign``). Needs the ``sign`` extra.

    Raises:
        RequestError: There is no such file, or the key is none.
        SafetyError: The bundle is damaged, hostile, or not signed with this key.
        MachineError: This machine lacks what the bundle needs.
    """
    return ready(open_bundle(path, public_key, digest=False), threads)


def ready(bundle: Bundle, threads: int | None = None) -> Model:
    """Make a verified bundle ready to run; see ``load``.

    Raises:
        SafetyError: Its manifest describes another model than it holds.
        MachineError: This machine lacks what the bundle needs.
    """
    version()  # imported, the runtime tells its version sooner than the files of its wheel
    if reason := machine.missing(bundle.manifest.runtime):
        raise MachineError(
            "E-MACHINE", f"{str(bundle.path)!r} cannot run here: {reason}", hint=_elsewhere(bundle)
        )
    session = open_session(bundle, threads)
    found = [(spec.name, spec.dtype) for spec in (*session.inputs, *session.outputs)]
    told = (*bundle.manifest.inputs, *bundle.manifest.outputs)
    if [(spec.name, spec.dtype) for spec in told] != found:
        raise SafetyError(
            "E-BUNDLE", f"{str(bundle.path)!r}: its manifest describes another model than it holds"
        )
    return Model(bundle, session)


def open_session(bundle: Bundle, threads: int | None = None) -> Session:
    """Open the model of a bundle with the options that its manifest asks for.

    Args:
        bundle: Verified.
        threads: As in ``load``.

    Raises:
        ModelError: The runtime refuses the model.
    """
    options = shipped_options(bundle.manifest, threads)
    return Session(bundle.model, options, str(bundle.path), self_contained=True)


def shipped_options(manifest: Manifest, threads: int | None, cores: int | None = None) -> Options:
    """Return the session options that a manifest asks for; see ``load``.

    Threads that the manifest asks for are at most the cores that affinity and quota leave:
    one that waits for a core stops all others at the end of every operator.

    Args:
        manifest: Of the bundle.
        threads: As in ``load``.
        cores: Usable ones of another machine, for options to use there; None for this one.
    """
    entries = dict(manifest.runtime.session)
    asked = int(entries.pop("intra_op_num_threads", 0))
    level: Any = entries.pop("graph_optimization_level", "all")
    usable = cores or machine.usable_cores()
    number = min(asked, usable) if threads is None else threads
    return Options(
        threads=number or min(usable, machine.MOST_THREADS),
        exact=cores is None and _needs_exact(manifest),
        level=level,
        provider=manifest.runtime.provider,
        entries={key: str(value) for key, value in entries.items()},
    )


def _needs_exact(manifest: Manifest) -> bool:
    """Whether integers that were chosen for a CPU that does not saturate meet one that does."""
    int8 = manifest.target.get("int8")
    if not isinstance(int8, dict) or int8.get("saturating"):
        return False
    if not any("int8" in kinds for kinds in manifest.precision.operators.values()):
        return False
    return saturates()


def _elsewhere(bundle: Bundle) -> str:
    cpus = bundle.manifest.target.get("emulate")
    device = f"qemu:{cpus[0]}" if isinstance(cpus, list) and cpus else "DEVICE"
    return f"edgepack verify {bundle.path} --on {device}"


def _check_names(
    arrays: Mapping[str, Any], expected: tuple[TensorSpec, ...], known: tuple[TensorSpec, ...]
) -> None:
    names = [spec.name for spec in known]
    for name in arrays:
        if name not in names:
            raise DataError(
                "E-INPUT", f"the model has no input {name!r}", hint=nearest(name, names)
            )
    for spec in expected:
        if spec.name not in arrays:
            raise DataError(
                "E-INPUT", f"input {spec.name!r} is not given", hint=f"the model takes {spec}"
            )


def _check(spec: TensorSpec, array: npt.NDArray[Any]) -> None:
    got = "str" if array.dtype.kind in "UO" else array.dtype.name
    if got != spec.dtype:
        raise DataError(
            "E-INPUT",
            f"input {spec.name!r} is {got}, the model takes {spec.dtype}",
            hint=f"convert it: array.astype({spec.dtype!r})",
        )
    fits = len(array.shape) == len(spec.shape) and all(
        want == size
        for want, size in zip(spec.shape, array.shape, strict=True)
        if isinstance(want, int)
    )
    if array.size == 0 and 0 not in spec.shape:  # a recurrent kernel ends the process on these
        raise DataError(
            "E-INPUT",
            f"input {spec.name!r} has shape {list(array.shape)}: there is nothing in it",
            hint="leave empty batches out",
        )
    if spec.shape and not fits:
        raise DataError(
            "E-INPUT",
            f"input {spec.name!r} has shape {list(array.shape)}, the model takes {spec}",
            hint="a sample has its batch dimension, and axes in the order of the model",
        )
