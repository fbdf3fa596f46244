"""Does an item fit the model: names, dtypes and shapes against the signature.

Nothing is cast silently: a float64 image that should have been float32 is often a sign that the
preprocessing of training was left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.base.errors import DataError, nearest
from edgepack.data.arrays import as_array
from edgepack.data.sources import Raw
from edgepack.spec.signature import Sample, Signature, TensorSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """One item that fits the model.

    Attributes:
        samples: One, or with carried state the frames of one sequence.
        labels: One per sample, or none; integers as int64, reals as float64.
        group: As given, hashable, or None.
    """

    samples: tuple[Sample, ...]
    labels: tuple[Array, ...]
    group: object


def fit(raw: Raw, signature: Signature, where: str, *, labelled: bool) -> Iterator[Fitted]:
    """Check one item and bring it into the form the model is run with.

    A batch made by a loader is parted where the model takes one sample at a time; else an item is
    one run call, as it is.

    Args:
        raw: As a source gave it.
        signature: Of the model.
        where: The item, for errors.
        labelled: Whether labels are asked for; if not, given ones are dropped.

    Raises:
        DataError: A name, dtype, shape or label does not fit.
    """
    samples = _samples(raw.values, signature, where)
    if not samples:
        raise DataError("E-DATA-EMPTY", f"{where} holds nothing")
    labels: tuple[Array, ...] = ()
    if labelled:
        labels = tuple(_label(label, where) for label in _each(raw.label, len(samples), where))
    if signature.state:
        yield Fitted(samples, labels, _group(raw.group))
        return
    for index, sample in enumerate(samples):
        yield Fitted((sample,), labels[index : index + 1], _group(raw.group, index))


def _samples(values: object, signature: Signature, where: str) -> tuple[Sample, ...]:
    fed = signature.fed
    if signature.state and isinstance(values, Sequence) and not isinstance(values, str):
        named = [_named(frame, signature, f"{where}, frame {i}") for i, frame in enumerate(values)]
        return tuple(_checked(frame, fed, f"{where}, frame {i}") for i, frame in enumerate(named))
    arrays = _named(values, signature, where)
    cut = {spec.name: _cut(arrays[spec.name], spec, sequence=bool(signature.state)) for spec in fed}
    counts = {len(parts) for parts in cut.values()}
    if len(counts) > 1:
        shapes = ", ".join(f"{name!r}: {list(array.shape)}" for name, array in arrays.items())
        raise DataError("E-DATA-SHAPE", f"{where}: inputs of different lengths ({shapes})")
    return tuple(
        _checked({name: parts[index] for name, parts in cut.items()}, fed, where)
        for index in range(max(counts, default=0))
    )


def _cut(array: Array, spec: TensorSpec, *, sequence: bool) -> list[Array]:
    """Part an array into run calls: frames of a sequence, or samples of a loader's batch."""
    rank = len(spec.shape)
    if array.ndim == rank + 1:
        return list(array)
    one_at_a_time = sequence or (rank > 0 and spec.shape[0] == 1)
    if array.ndim == rank > 0 and one_at_a_time:
        return [array[index : index + 1] for index in range(len(array))]
    return [array]


def _named(values: object, signature: Signature, where: str) -> dict[str, Array]:
    """Give every array the name of its input."""
    known = {spec.name for spec in signature.fed}
    if not isinstance(values, Mapping):
        if not hasattr(values, "shape") or len(known) != 1:
            raise DataError(
                "E-DATA-TYPE",
                f"{where} is {type(values).__name__}, not {{input: array}}",
                hint=f"inputs: {_listed(signature)}",
            )
        values = {next(iter(known)): values}
    for name in values:
        if name in signature.state.values():
            raise DataError(
                "E-DATA-NAME",
                f"{where} gives the state {name!r}",
                hint="leave it out: it is carried",
            )
        if name not in known:
            raise DataError(
                "E-DATA-NAME",
                f"{where}: no input named {name!r}",
                hint=nearest(str(name), known | {"labels"}),
            )
    if missing := sorted(known - set(values)):
        raise DataError(
            "E-DATA-NAME",
            f"{where} lacks the input {missing[0]!r}",
            hint=f"inputs: {_listed(signature)}",
        )
    return {str(name): as_array(value) for name, value in values.items()}


def _checked(arrays: dict[str, Array], fed: tuple[TensorSpec, ...], where: str) -> Sample:
    sizes: dict[str, int] = {}
    sample = {}
    for spec in fed:
        array = _of_dtype(arrays[spec.name], spec, where)
        fits = array.ndim == len(spec.shape) and 0 not in array.shape
        for length, dim in zip(array.shape, spec.shape, strict=False):
            wanted = sizes.setdefault(dim, length) if isinstance(dim, str) else dim
            fits = fits and wanted in (None, length)
        if not fits:
            known = [
                str(sizes.get(dim, dim)) if isinstance(dim, str) else str(dim) for dim in spec.shape
            ]
            raise DataError(
                "E-DATA-SHAPE",
                f"{where}: {spec.name!r} has shape {list(array.shape)}, the model takes {spec}",
                hint=_shape_hint(array.shape, spec) or f"so [{', '.join(known)}] is needed here",
            )
        sample[spec.name] = np.ascontiguousarray(array).reshape(array.shape)
    return sample


def _of_dtype(array: Array, spec: TensorSpec, where: str) -> Array:
    if spec.dtype == "str" and array.dtype.kind in "UO":
        if all(isinstance(text, str) for text in array.flat):
            return array.astype(np.str_)
    elif array.dtype.name == spec.dtype:
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    raise DataError(
        "E-DATA-DTYPE",
        f"{where}: {spec.name!r} is {array.dtype.name}, the model takes {spec.dtype}",
        hint=f'if the values are as in training, array.astype("{spec.dtype}") converts them',
    )


def _shape_hint(got: tuple[int, ...], spec: TensorSpec) -> str:
    """Name the two slips everybody makes: channels on the other side, no batch dimension."""

    def fits(shape: Sequence[int]) -> bool:
        pairs = zip(shape, spec.shape, strict=False)
        return len(shape) == len(spec.shape) and all(
            not isinstance(dim, int) or dim == length for length, dim in pairs
        )

    for order, text in (((0, 3, 1, 2), "NHWC to NCHW"), ((0, 2, 3, 1), "NCHW to NHWC")):
        if len(got) == 4 and fits([got[axis] for axis in order]):
            return f"array.transpose{order} turns {text}"
    return "array[None] adds the batch dimension" if fits((1, *got)) else ""


def _each(label: object, count: int, where: str) -> list[Array]:
    """Give every sample its label."""
    if label is None:
        raise DataError(
            "E-DATA-LABELS",
            f"{where} has no label",
            hint="yield ({input: array}, label), or add labels",
        )
    labels = as_array(label)
    if count == 1 and (labels.ndim == 0 or len(labels) != 1):
        return [labels]
    if labels.ndim == 0 or len(labels) != count:
        raise DataError(
            "E-DATA-LABELS", f"{where}: labels of shape {list(labels.shape)} for {count} samples"
        )
    return list(labels)


def _label(label: object, where: str) -> Array:
    """Bring a label into one form, whatever file it came from."""
    array = as_array(label)
    kind = array.dtype.kind
    if kind not in "iubfU" or not array.size:
        raise DataError("E-DATA-LABELS", f"{where}: a label of {array.dtype} {list(array.shape)}")
    form: type[Any] = np.float64 if kind == "f" else np.str_ if kind == "U" else np.int64
    return array.astype(form).reshape(() if array.size == 1 else array.shape)


def _group(group: object, index: int = 0) -> object:
    """Return the group of one sample; a batch has one for each, or one for all."""
    if group is None:
        return None
    groups = as_array(group).ravel().tolist()
    return groups[index] if index < len(groups) else groups[0]


def _listed(signature: Signature) -> str:
    return ", ".join(str(spec) for spec in signature.fed)
