from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgepack.bench import tuning
from edgepack.bench.record import Options
from edgepack.bench.verdict import Verdict
from edgepack.bundle.golden import Golden
from edgepack.gate import tuned
from edgepack.gate.candidates import Candidate
from edgepack.gate.tuned import Settled
from edgepack.runtime.session import Session
from edgepack.spec import target
from edgepack.spec.signature import Sample
from tests.models import proto, value

X86 = target.load("x86_64", target.BUILT_IN)
SAMPLES: Sequence[Sample] = [{"x": np.full((2, 4), k, np.float32)} for k in range(3)]
BASIC = Options(1, False, "basic", "CPUExecutionProvider", {})  # noqa: FBT003


def settled(max_latency: float | None = None) -> Settled:
    model = proto(
        [helper.make_node("Sigmoid", ["x"], ["y"])],
        {},
        inputs=[value("x", [2, 4])],
        outputs=[value("y", [2, 4])],
    )
    data = model.SerializeToString()
    golden = Golden.of(SAMPLES, [Session(data).run(sample) for sample in SAMPLES])
    candidate = Candidate("float32", ir.serde.deserialize_model(model), data, (), {}, lossy=False)
    return Settled(candidate, golden, {"y": 1e-4}, max_latency)


def found(decision: str) -> tuning.Tuned:
    verdict = Verdict(decision, 0.9, (0.88, 0.92), 0.03, 5, 10)  # type: ignore[arg-type]
    return tuning.Tuned("basic, 1 thread", {}, BASIC, verdict, None, ())


def test_what_is_faster_and_passes_the_self_test_ships() -> None:
    assert tuned._declined(found("faster"), settled(max_latency=60.0), X86) == ""


@pytest.mark.parametrize("decision", ["slower", "no difference", "inconclusive"])
def test_what_was_not_shown_to_be_faster_does_not_ship(decision: str) -> None:
    why = tuned._declined(found(decision), settled(), X86)
    took = "basic, 1 thread takes 0.900 [0.880, 0.920] of the time of the default"
    assert why == f"{took}: {decision}"


def test_options_that_give_other_outputs_do_not_ship() -> None:
    other = settled()
    outputs = {"y": other.golden.outputs["y"].astype(np.float32) + np.float32(0.5)}
    moved = replace(other, golden=replace(other.golden, outputs=outputs))
    why = tuned._declined(found("faster"), moved, X86)
    assert why == "basic, 1 thread: output 'y' is 0.5 from its golden value"


def test_options_at_which_the_limit_on_latency_does_not_hold_do_not_ship() -> None:
    why = tuned._declined(found("faster"), settled(max_latency=1e-9), X86)
    assert "at the 90th percentile exceeds" in why


def test_threads_are_left_open_where_the_default_has_as_many() -> None:
    session: dict[str, int | str] = {
        "intra_op_num_threads": 2,
        "graph_optimization_level": "basic",
        "session.force_spinning_stop": "1",
    }
    assert tuned._portable(session, 2) == {**session, "intra_op_num_threads": 0}
    assert tuned._portable(session, 4) == session


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("web", "no device of web is here: it needs a CPU of type 'wasm32'"),
        ("tensorrt", "TensorrtExecutionProvider has no threads or graph level to choose"),
    ],
)
def test_where_nothing_can_be_timed_there_is_a_sentence(name: str, reason: str) -> None:
    none = tuned.tune(settled(), target.load(name, target.BUILT_IN), (), lambda _: None)
    assert none.sentence.startswith(f"not tuned: {reason}")
    assert none.session == {}
