"""The self-test of a bundle: a few inputs and the outputs they must give.

``golden.npz`` opens with ``numpy.load`` and holds ``input.NAME`` for every model input (carried
state included: each sample stands alone) and ``output.NAME`` for every output. Axis 0 counts the
samples: ``input.NAME[i]`` is what one ``run`` takes, its batch dimension included.

Where a bundle says how raw input becomes a sample, ``raw.NAME`` holds the raw inputs, pixels, texts
or sound, that the first samples were made from.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgepack.base.distance import largest_difference
from edgepack.base.errors import SafetyError
from edgepack.bundle import archive
from edgepack.spec.signature import Sample

Array = npt.NDArray[np.generic]

_KINDS = "biufU"
_HEADER = 512  # bytes; numpy's own headers take 118
_MOST = 8192


@dataclass(frozen=True, slots=True)
class Golden:
    """Samples and their outputs, each array stacked over samples along a new axis 0.

    Attributes:
        inputs: Model input -> array, state included.
        outputs: Model output -> array.
        raw: What the first samples were made from, if they were made from anything.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    raw: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        outputs: Sequence[Sample],
        raw: Mapping[str, Array] | None = None,
    ) -> "Golden":
        """Stack runs; those whose shapes differ from the first run's are left out.

        Args:
            samples: One array per model input each, state included.
            outputs: What the runs gave, in the same order.
            raw: What the first samples were made from, stacked.

        Raises:
            ValueError: There is no run, or samples and outputs differ in number.
        """
        runs = list(zip(samples, outputs, strict=True))
        if not runs:
            raise ValueError("a golden set needs at least one run")
        alike = [run for run in runs if _shapes(run) == _shapes(runs[0])]
        stacked = (_stack([sample for sample, _ in alike]), _stack([out for _, out in alike]))
        return cls(*stacked, dict(raw or {}))

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The inputs, one mapping per run."""
        return tuple({k: v[i, ...] for k, v in self.inputs.items()} for i in range(self.n))


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What a golden run on some machine gave.

    Attributes:
        passed: Output -> whether it is within its tolerance on all samples.
        largest: Output -> largest absolute difference; infinite where shapes differ.
        tolerance: Output -> absolute tolerance.
        n: Number of samples.
    """

    passed: Mapping[str, bool]
    largest: Mapping[str, float]
    tolerance: Mapping[str, float]
    n: int

    def require(self, where: str) -> None:
        """Do nothing when all outputs passed.

        Raises:
            SafetyError: An output is further from its golden value than its tolerance.
        """
        bad = [name for name, passed in self.passed.items() if not passed]
        if bad:
            name = max(bad, key=lambda each: self.largest[each])
            raise SafetyError(
                "E-GOLDEN",
                f"output {name!r} is {self.largest[name]:.3g} from its golden value, "
                f"tolerance {self.tolerance[name]:.3g}, {where}",
                hint="this runtime or CPU computes other numbers than the target; do not use it",
            )


def judge(golden: Golden, tolerance: Mapping[str, float], outputs: Sequence[Sample]) -> SelfTest:
    """Compare the outputs of golden runs, made anywhere, with those in the bundle.

    Args:
        golden: What must come out.
        tolerance: Output -> absolute tolerance.
        outputs: One mapping per golden sample, in order; a missing output fails.

    Raises:
        ValueError: There are not as many runs as golden samples.
    """
    if len(outputs) != golden.n:
        raise ValueError(f"{len(outputs)} runs for {golden.n} golden samples")
    largest = {
        name: max(largest_difference(want[i, ...], got.get(name)) for i, got in enumerate(outputs))
        for name, want in golden.outputs.items()
    }
    passed = {name: far <= tolerance[name] for name, far in largest.items()}
    return SelfTest(passed, largest, dict(tolerance), golden.n)


def encode(golden: Golden) -> bytes:
    """Return the bytes of ``golden.npz``; equal for equal arrays (``numpy.savez`` writes dates)."""
    named = {f"input.{name}": array for name, array in golden.inputs.items()}
    named |= {f"output.{name}": array for name, array in golden.outputs.items()}
    named |= {f"raw.{name}": array for name, array in golden.raw.items()}
    # Stored: the bundle deflates the whole, and a reader knows all sizes from the file's own.
    arrays = {f"{key}.npy": _npy(named[key]) for key in sorted(named)}
    return archive.write(arrays, deflate=False)


def decode(data: bytes, where: str) -> Golden:
    """Read ``golden.npz``, trusting nothing in it.

    Raises:
        SafetyError: Anything ``encode`` would not have written: pickles, other dtypes, lying
            sizes, arrays of unequal length, names of another form.
    """
    found: dict[str, dict[str, Array]] = {"input": {}, "output": {}, "raw": {}}
    for entry in archive.index(data, _MOST, where):
        side, _, name = entry.name.removesuffix(".npy").partition(".")
        if side not in found or not name or not entry.name.endswith(".npy"):
            raise _damaged(where, f"it has a member {entry.name!r}")
        if entry.method != archive.STORED:
            raise _damaged(where, f"its member {entry.name!r} is packed")
        found[side][name] = _array(archive.extract(data, entry, where), f"{where}, {entry.name!r}")
    runs, raw = (found["input"], found["output"]), found["raw"]
    lengths = {len(array) for side in runs for array in side.values()}
    if len(lengths) != 1 or lengths == {0} or not all(runs):
        raise _damaged(where, "its arrays do not hold the same number of samples, one or more")
    if not all(1 <= len(array) <= max(lengths) for array in raw.values()):
        raise _damaged(where, "it has more raw inputs than samples, or none where it has some")
    return Golden(*runs, raw)


def _array(data: bytes, where: str) -> Array:
    """Read one ``.npy``: a plain header, then exactly the bytes it promises, and no pickle."""
    file = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise _damaged(where, "its header has another version than 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER)
    except (ValueError, EOFError, RecursionError, MemoryError) as error:
        raise _damaged(where, "its header is not that of an array") from error
    if fortran or dtype.kind not in _KINDS or not dtype.itemsize or not dtype.isnative:
        raise _damaged(where, f"dtype {dtype.str!r} is not one a model takes")
    size = math.prod(shape) * dtype.itemsize  # Python's integers: no overflow to hide behind
    if not shape or min(shape) < 0 or size != len(data) - file.tell():
        raise _damaged(where, f"shape {shape} does not fit its {len(data)} bytes")
    try:
        return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)
    except ValueError as error:  # an empty array with an axis no machine can count
        raise _damaged(where, f"shape {shape} is none") from error


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    plain = np.ascontiguousarray(array.astype(str) if array.dtype.kind == "O" else array)
    plain = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
    np.lib.format.write_array(file, plain, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def _stack(runs: Sequence[Sample]) -> dict[str, Array]:
    return {name: np.stack([run[name] for run in runs]) for name in runs[0]}


def _shapes(run: tuple[Sample, Sample]) -> list[tuple[str, tuple[int, ...]]]:
    return sorted(_named_shapes(run))


def _named_shapes(run: tuple[Sample, Sample]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for side, arrays in zip(("input", "output"), run, strict=True):
        for name, array in arrays.items():
            yield f"{side}.{name}", array.shape


def _damaged(where: str, reason: str) -> SafetyError:
    return SafetyError("E-BUNDLE", f"{where} is not a sound golden set: {reason}")
