"""Targets: facts about one kind of place a model can run, read from ``targets/<name>.toml``."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgepack.base.errors import RequestError, nearest
from edgepack.spec.decode import decode, read_toml

_PACKAGE = Path(__file__).parents[1]
BUILT_IN = next(
    folder for folder in (_PACKAGE / "_targets", _PACKAGE.parent / "targets") if folder.is_dir()
)
"""Inside the wheel, or at the top of a checkout."""


class Int8(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the machine multiplies bytes.

    Attributes:
        activations: Integer type of activations.
        symmetric: Whether the zero point of activations must be 0.
        weights: Integer type of weights, always symmetric.
        depthwise: The same of depthwise convolutions, where their kernels want another one.
        saturating: Whether two u8*s8 products are added in 16 bits and can overflow (AVX2 and
            AVX-512 without VNNI); weights then obey the pair law. Source: onnxruntime#12088.
        bias: Whether the kernels take an int32 bias; else it stays in float.
    """

    activations: Literal["int8", "uint8"]
    symmetric: bool = False
    weights: Literal["int8", "uint8"] = "int8"
    depthwise: Literal["int8", "uint8"] | None = None
    saturating: bool = False
    bias: Literal["int32", "float32"] = "int32"

    def __post_init__(self) -> None:
        """Refuse a zero point of 0 in a type whose middle it is not."""
        if self.symmetric and self.activations != "int8":
            raise ValueError(f"symmetric activations are int8, not {self.activations}")


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bounds the speed of one core, for ranking models and never for milliseconds.

    Attributes:
        width: Instructions issued in a cycle.
        pipes: Vector multiply-adds started in a cycle.
        ports: Loads of a vector register in a cycle.
        l1, l2: KiB and ways of the data caches, lines of 64 bytes.
        l1_penalty: Cycles that a miss of the first level adds where the second has the line.
        l2_penalty: Cycles that a miss of the second level adds to those.
    """

    width: Annotated[float, msgspec.Meta(gt=0)]
    pipes: Annotated[float, msgspec.Meta(gt=0)]
    ports: Annotated[float, msgspec.Meta(gt=0)]
    l1: tuple[int, int]
    l2: tuple[int, int]
    l1_penalty: Annotated[float, msgspec.Meta(ge=0)]
    l2_penalty: Annotated[float, msgspec.Meta(ge=0)]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of place a bundle can run; facts only, never a list of passes.

    Attributes:
        name: The file name, and what ``--target`` takes.
        origin: ``built-in`` or ``project``.
        summary: One line for ``edgepack targets``.
        arch: ``x86_64``, ``aarch64``, ``wasm32``.
        sources: Where each fact comes from: the fields it speaks of, a colon, the source.
        features: CPU features that the artifact needs, in the kernel's spelling (/proc/cpuinfo);
            ``a|b`` asks for either, see `lacking`.
        providers: ONNX Runtime execution providers, most wanted first.
        min_runtime: Oldest ONNX Runtime that must open the bundle.
        max_opset: The newest ONNX opset which that runtime accepts.
        max_ir: The newest ONNX IR version which that runtime accepts.
        emulate: CPU models of qemu-user that stand for this target.
        channel_multiple: The fastest kernels take channels in blocks of this many.
        cores: Cores of the board, where the target is a board.
        int8: Absent where the provider has no integer kernels.
        float16: Whether the kernels compute in float16, from ``min_runtime`` on.
        int16: Whether kernels multiply 16-bit activations by 8-bit weights. ONNX Runtime's CPU
            provider has none: it computes such a node in float32, between two conversions
            (``benchmarks/quantization/int16.py``).
        sparsity: Pattern of zeros that the kernels exploit.
        cost: CPU of ``emulate`` -> what bounds its speed.
    """

    name: str
    origin: Literal["built-in", "project"]
    summary: str
    arch: Literal["x86_64", "aarch64", "wasm32"]
    sources: tuple[str, ...]
    providers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    min_runtime: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d+(\.\d+)?$")]
    max_opset: int
    max_ir: int
    features: tuple[str, ...] = ()
    emulate: tuple[str, ...] = ()
    channel_multiple: Annotated[int, msgspec.Meta(ge=1)] = 1
    cores: Annotated[int, msgspec.Meta(ge=1)] | None = None
    int8: Int8 | None = None
    float16: bool = False
    int16: bool = False
    sparsity: Literal["none", "2:4"] = "none"
    cost: dict[str, Cost] | None = None

    def __post_init__(self) -> None:
        """Refuse the cost of a CPU that does not stand for the target."""
        if strangers := sorted((self.cost or {}).keys() - set(self.emulate)):
            raise ValueError(f"cost names {strangers[0]!r}, which is not in emulate")

    @property
    def provider(self) -> str:
        """The provider that must really run the artifact."""
        return self.providers[0]


def names(project: Path = Path("targets")) -> tuple[str, ...]:
    """List the built-in targets and those of the project's own ``./targets``.

    Raises:
        RequestError: ``./targets`` cannot be looked into.
    """
    with _looking_into(project):
        found = {path.stem for folder in (BUILT_IN, project) for path in folder.glob("*.toml")}
    return tuple(sorted(found))


def load(name: str, project: Path = Path("targets")) -> Target:
    """Read the target called ``name``; a file in ``./targets`` shadows a built-in one.

    Raises:
        RequestError: No such target, or the file cannot be read or breaks the schema.
    """
    if name not in (known := names(project)):
        raise RequestError("E-TARGET", f"no target named {name!r}", hint=nearest(name, known))
    file = f"{name}.toml"
    with _looking_into(project):
        own = (project / file).is_file() and project.resolve() != BUILT_IN.resolve()
    path = (project if own else BUILT_IN) / file
    facts = read_toml(path)
    if said := facts.keys() & {"name", "origin"}:
        raise RequestError("E-CONFIG", f"{path}: {min(said)!r} is no fact", hint="leave it out")
    origin = "project" if own else "built-in"
    return decode(Target, {**facts, "name": name, "origin": origin}, str(path))


@contextmanager
def _looking_into(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(
            "E-PATH", f"cannot read {str(folder)!r}: {reason}", hint="look at its permissions"
        ) from error


def oldest_runtime() -> str:
    """Return the oldest ONNX Runtime that any built-in target promises to run on."""
    floors = (load(path.stem).min_runtime for path in BUILT_IN.glob("*.toml"))
    return min(floors, key=lambda floor: [int(part) for part in floor.split(".")])


def shadows(target: Target) -> bool:
    """Whether a project's file hides a built-in target of the same name."""
    return target.origin == "project" and (BUILT_IN / f"{target.name}.toml").is_file()


def lacking(features: tuple[str, ...], present: Collection[str]) -> tuple[str, ...]:
    """Return the features that a CPU with those in ``present`` does not have.

    >>> lacking(("avx2", "avx512_vnni|avx_vnni"), {"avx2", "avx_vnni"})
    ()
    """
    return tuple(
        feature for feature in features if not any(one in present for one in feature.split("|"))
    )
