"""A and B as users name them: a bundle, at what its manifest says, or an ONNX file."""

from collections.abc import Sequence
from pathlib import Path

from edgepack import devices
from edgepack.base.errors import MachineError, ModelError, RequestError
from edgepack.base.files import beside, sha256
from edgepack.bench.rivals import Arm, Rivals, arm
from edgepack.bench.subject import face
from edgepack.bundle.open import Bundle, open_bundle
from edgepack.devices import Timing
from edgepack.runtime import machine
from edgepack.runtime.model import shipped_options
from edgepack.runtime.session import Options as SessionOptions
from edgepack.spec.signature import Sample, Signature, TensorSpec


def read(a: Path, b: Path, threads: int | None = None, device: Timing | None = None) -> Rivals:
    """Open both models and find inputs: golden samples of a bundle, else made-up ones.

    Args:
        a: A bundle or an ONNX file.
        b: Another.
        threads: Of both; None for what ships, 0 for the usable cores, at most four.
        device: Where to compare; None for this machine.

    Raises:
        EdgepackError: A file cannot be read, or this machine cannot run it.
        RequestError: They do not take and return the same.
    """
    bundles = {path: open_bundle(path) for path in {a, b} if path.suffix != ".onnx"}
    one, other = (_arm(path, bundles.get(path), threads, device) for path in (a, b))
    shared = _require_same(one, other)
    for name, path in (("A", a), ("B", b)):
        if path in bundles:
            return Rivals(one, other, bundles[path].golden.samples, f"golden samples of {name}")
    return Rivals(one, other, _made_up(shared), "made up")


def _arm(path: Path, bundle: Bundle | None, threads: int | None, device: Timing | None) -> Arm:
    if bundle is not None:
        needs = bundle.manifest.runtime
        if reason := devices.lacks(device, needs) if device else machine.missing(needs):
            raise MachineError(
                "E-MACHINE",
                f"{str(path)!r} cannot run {f'on {device.name}' if device else 'here'}: {reason}",
                hint="compare where it can run; an emulated CPU has no time to compare",
            )
        cores = device.cores if device else None
        options = shipped_options(bundle.manifest, threads, cores)
        return arm(str(path), bundle.model, bundle.sha256, options)
    try:
        model = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(
            "E-PATH", f"cannot read {str(path)!r}: {reason}", hint=beside(path)
        ) from error
    options = SessionOptions(threads=threads or _threads(device))
    return arm(str(path), model, sha256(model), options)


def _threads(device: Timing | None) -> int:
    return min(device.cores, machine.MOST_THREADS) if device else machine.threads()


def _require_same(a: Arm, b: Arm) -> Signature:
    """Return what the runtime says A takes and returns.

    Raises:
        RequestError: B takes or returns something else.
    """
    one, other = _face(a), _face(b)
    kinds = (("input", one.inputs, other.inputs), ("output", one.outputs, other.outputs))
    for kind, mine, theirs in kinds:
        if reason := _differ(mine, theirs):
            raise RequestError(
                "E-COMPARE",
                f"A and B differ in an {kind}: {reason}",
                hint="compare models that take and return the same",
            )
    return one


def _face(arm: Arm) -> Signature:
    try:
        return face(arm.model, arm.contestant.options)
    except ModelError as error:
        said = f"{arm.contestant.path!r}: {error}"
        raise ModelError(error.code, said, hint=error.hint) from error


def _differ(mine: Sequence[TensorSpec], theirs: Sequence[TensorSpec]) -> str:
    """Say where two lists of tensors differ, or nothing; symbolic dimensions fit any."""
    known = {spec.name: spec for spec in theirs}
    for spec in mine:
        if (other := known.pop(spec.name, None)) is None:
            return f"B has no {spec.name!r}"
        if spec.dtype != other.dtype or not _fits(spec, other):
            return f"{spec} against {other}"
    return f"A has no {next(iter(known))!r}" if known else ""


def _fits(a: TensorSpec, b: TensorSpec) -> bool:
    return len(a.shape) == len(b.shape) and all(
        one == other or not (isinstance(one, int) and isinstance(other, int))
        for one, other in zip(a.shape, b.shape, strict=True)
    )


def _made_up(signature: Signature) -> list[Sample]:
    from edgepack.data.made_up import made_up

    return [item.samples[0] for item in made_up(signature)]
