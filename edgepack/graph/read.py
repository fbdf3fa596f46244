"""Read an ONNX model that anybody may have made: refuse, or return one that passes can rely on."""

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from edgepack.base.errors import ModelError, RequestError, SafetyError
from edgepack.base.files import beside, sha256
from edgepack.base.units import size
from edgepack.graph import convert, normalize, wellformed
from edgepack.graph.external import load_external
from edgepack.graph.limits import FILE_BYTES, check_counts, check_loops
from edgepack.graph.settle import settle
from edgepack.graph.sniff import foreign

_NEW_OPSET = 21
"""The newest opset that every target's oldest runtime reads (ONNX Runtime 1.20)."""
_QUANTIZED = re.compile(
    r"Q(Linear|Gemm|Attention|Embed|Moe|MoE)|Quantize|Dequantize|DynamicQuantize"
    r"|(Conv|MatMul)Integer|MatMul(NBits|Bnb4)|GatherBlockQuantized"
)


@dataclass(frozen=True, slots=True)
class Read:
    """A model as it was understood.

    Attributes:
        model: Self-contained and normalized.
        notes: What was changed or left open, as sentences.
        sha256: Of the file; with external data, of the digests of all files in order of name.
        opset: The opset of the file; where the model's is higher, compare outputs with the file's.
    """

    model: ir.Model
    notes: tuple[str, ...]
    sha256: str
    opset: int


def read(path: Path) -> Read:
    """Read the model at ``path`` and the weights beside it.

    Raises:
        RequestError: There is no such file.
        ModelError: It is not a model, or a broken one.
        SafetyError: It is too large, or reaches outside its folder.
    """
    return _load(_bytes(path), str(path), path.parent)


def parse(data: bytes, where: str) -> Read:
    """Read a self-contained model from bytes; ``where`` names them in errors."""
    return _load(data, where, None)


def quantized_nodes(model: ir.Model) -> tuple[str, ...]:
    """List the nodes that show that a model was quantized before: QDQ, QOperator or dynamic."""
    return tuple(
        f"{node.name} ({node.op_type})"
        for node in model.graph.all_nodes()
        if _QUANTIZED.match(node.op_type)
    )


def _bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "not a plain file"
            raise RequestError("E-PATH", f"{str(path)!r} is {kind}", hint="give an .onnx file")
        with path.open("rb") as file:
            held = os.fstat(file.fileno()).st_size
            if held > FILE_BYTES:
                raise SafetyError("E-CAP", f"{str(path)!r} is larger than {size(FILE_BYTES)}")
            return file.read(held)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            "E-PATH", f"cannot read {str(path)!r}: {reason.lower()}", hint=beside(path)
        ) from error


def _load(data: bytes, where: str, folder: Path | None) -> Read:
    proto = _decode(data, where)
    wellformed.check_text(proto)
    wellformed.check_versions(proto)
    version = wellformed.opset(proto)
    check_counts(proto)
    wellformed.check_interface(proto)
    wellformed.check_names(proto)
    digests = load_external(proto, folder)
    for tensor in wellformed.tensors(proto):
        wellformed.check_tensor(tensor)
    notes: list[str] = []
    proto = _normalized(proto, notes)
    with _quiet():
        try:
            model = ir.from_proto(proto)
        except (ir.serde.SerdeError, ValueError, TypeError) as error:
            raise ModelError("E-MODEL-CORRUPT", f"{where!r} is not understood: {error}") from error
        notes.extend(settle(model))
    if version > _NEW_OPSET:
        notes.append(f"opset {version} is newer than {_NEW_OPSET}, which older runtimes stop at")
    return Read(model, tuple(notes), _digest(data, digests), version)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnx_ir from logging what errors and notes tell better."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _decode(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise ModelError("E-MODEL-EMPTY", f"{where!r} is 0 bytes", hint="copy or export it again")
    if known := foreign(data):
        raise ModelError("E-MODEL-TYPE", f"{where!r} is {known[0]}", hint=known[1])
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        if "depth" in str(error).lower():
            raise SafetyError("E-CAP", f"{where!r} nests graphs too deep to be read") from error
        raise ModelError(
            "E-MODEL-CORRUPT",
            f"{where!r} ({size(len(data))}) is not a complete ONNX model",
            hint=f"copy it again; this copy has sha256 {sha256(data)[:16]}",
        ) from error
    return model


def _normalized(proto: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    """Check and straighten the protobuf, in the order that each step needs."""
    normalize.strip(proto)
    notes.extend(normalize.fix_domains(proto))
    notes.extend(normalize.drop_names(proto))
    wellformed.check_operators(proto)
    wellformed.check_wiring(proto.graph)
    notes.extend(normalize.densify(proto))
    for step in (convert.inline, convert.upgrade):
        proto, told = step(proto)
        notes.extend(told)
    wellformed.check_wiring(proto.graph)
    check_loops(proto)
    return proto


def _digest(data: bytes, digests: dict[str, str]) -> str:
    if not digests:
        return sha256(data)
    whole = hashlib.sha256(sha256(data).encode())
    for location in sorted(digests):
        whole.update(digests[location].encode())
    return whole.hexdigest()
