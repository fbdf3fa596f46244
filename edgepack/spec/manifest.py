"""``manifest.json``: what a bundle says of itself, format ``edgepack/1``.

Nothing measured by a clock is in it: the same inputs and decisions give the same bytes.
"""

from typing import Any, Literal

import msgspec

from edgepack.spec.signature import TensorSpec
from edgepack.spec.target import Target

FORMAT = "edgepack/1"


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the manifest."""


class Member(_Record, frozen=True):
    """Digest and length of one member of the bundle."""

    sha256: str
    bytes: int


class Runtime(_Record, frozen=True):
    """What the runtime on the device must offer.

    Attributes:
        min_onnxruntime: Oldest ONNX Runtime that opens the model.
        opset: Of the default domain.
        ir_version: Of the ONNX file.
        provider: The execution provider that must run the model.
        arch: CPU architecture.
        cpu_features: Features required, in the kernel's spelling; ``a|b`` asks for either.
        session: Options to open the session with: ``intra_op_num_threads`` (0: the usable cores,
            at most four), ``graph_optimization_level``, and config entries by their own key.
    """

    min_onnxruntime: str
    opset: int
    ir_version: int
    provider: str
    arch: str
    cpu_features: tuple[str, ...]
    session: dict[str, int | str]


class Accuracy(_Record, frozen=True):
    """The user's metric on samples kept out of calibration, float against shipped.

    Attributes:
        float_: Score of the float model, ``float`` in the file.
        drop: Loss in the metric's unit, positive is worse.
        interval: 95 % interval of the drop, paired.
        shown: Whether the worse end of the interval holds the limit too.
    """

    metric: str
    n: int
    float_: float = msgspec.field(name="float")
    shipped: float
    drop: float
    interval: tuple[float, float]
    max_drop: float
    shown: bool


class Fidelity(_Record, frozen=True):
    """How close the shipped outputs are to those of the float model.

    Attributes:
        agreement: Fraction of samples with the same decision; None where outputs are no scores.
        cosine: Mean cosine similarity over samples.
        sqnr_db: Signal to quantization noise over all outputs, in dB; None where exactly equal.
        where: ``exact mode here`` or the device.
    """

    agreement: float | None
    cosine: float
    sqnr_db: float | None
    n: int
    where: str


class Execution(_Record, frozen=True):
    """Golden runs, and evaluation runs, made on the target's own kernels.

    Attributes:
        device: ``qemu:cortex-a53``, or ``not executed``.
        runtime: Version of ONNX Runtime there.
        golden: Samples of ``golden.npz`` that ran there.
        evaluated: Evaluation samples that ran there.
        agreement: Fraction of those with the same decision as exact mode here.
        largest: Largest absolute difference from exact mode here, per output.
        bit_equal: Fraction of samples whose outputs are bit-equal to exact mode here.
        sqnr_db: Outputs of exact mode here against their difference; None where all are equal.
        note: A sentence where something did not run.
    """

    device: str
    runtime: str = ""
    golden: int = 0
    evaluated: int = 0
    agreement: float | None = None
    largest: dict[str, float] = {}
    bit_equal: float | None = None
    sqnr_db: float | None = None
    note: str = ""


class Cost(_Record, frozen=True):
    """Emulated instructions per inference; deterministic, never a time."""

    device: str
    float_instructions: int
    shipped_instructions: int


class Size(_Record, frozen=True):
    """Bytes of the float model and of the shipped one, as ONNX files."""

    float_bytes: int
    model_bytes: int


class Precision(_Record, frozen=True):
    """What computes in which type.

    Attributes:
        operators: Operator -> precision -> number of nodes.
        left_in_float: Node -> the reason it was left.
    """

    operators: dict[str, dict[str, int]]
    left_in_float: dict[str, str]


class StepRecord(_Record, frozen=True):
    """One step of the recipe: what it was given and what it did, or why it did not run."""

    use: str
    parameters: dict[str, Any] = {}
    edits: int = 0
    skipped: str = ""


class Lineage(_Record, frozen=True):
    """Where the artifact comes from: digests of inputs, steps and versions."""

    model_sha256: str
    calibration_sha256: str
    evaluation_sha256: str
    recipe: str
    target_origin: Literal["built-in", "project"]
    exporter: str
    steps: tuple[StepRecord, ...]
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    training_sha256: str = ""


class Golden(_Record, frozen=True):
    """The self-test: number of samples and absolute tolerance per output."""

    n: int
    tolerance: dict[str, float]


class Manifest(_Record, frozen=True):
    """The whole of ``manifest.json``; ``target`` holds the target's facts as used."""

    format: Literal["edgepack/1"]
    name: str
    target: dict[str, Any]
    runtime: Runtime
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    state: dict[str, str]
    files: dict[str, Member]
    accuracy: Accuracy | None
    fidelity: Fidelity
    executed: tuple[Execution, ...]
    cost: tuple[Cost, ...]
    size: Size
    precision: Precision
    lineage: Lineage
    golden: Golden


def runtime_of(target: Target) -> Runtime:
    """Return what a target's facts ask of the runtime, at the newest opset and IR it accepts."""
    return Runtime(
        min_onnxruntime=target.min_runtime,
        opset=target.max_opset,
        ir_version=target.max_ir,
        provider=target.provider,
        arch=target.arch,
        cpu_features=target.features,
        session={"graph_optimization_level": "all", "intra_op_num_threads": 0},
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the manifest (draft 2020-12)."""
    return msgspec.json.schema(Manifest)


def encode(manifest: Manifest) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, UTF-8, a final newline."""
    return msgspec.json.encode(manifest, order="sorted") + b"\n"
