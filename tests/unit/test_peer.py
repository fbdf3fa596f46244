"""ONNX Runtime's own quantizer as one more candidate: made when asked, refused like any other."""

import numpy as np
import onnx_ir as ir
import pytest

from edgepack.data.samples import Dataset, open_dataset
from edgepack.gate import peer
from edgepack.gate.candidates import rewrite
from edgepack.gate.peer import Peer
from edgepack.graph.census import signature
from edgepack.plan import plan
from edgepack.runtime.session import Options, Session
from edgepack.spec import recipe, target
from tests import convolutions, graphs, zoo


def made(model: ir.Model, name: str = "x86_64", recipe_name: str = "int8") -> Peer:
    bound = plan(recipe.load(recipe_name), target.load(name, target.BUILT_IN))
    return Peer(rewrite(bound, model, signature(model), data(model)))


def data(model: ir.Model) -> Dataset:
    samples = graphs.samples(model, 8)
    stacked = {name: np.concatenate([each[name] for each in samples]) for name in samples[0]}
    return open_dataset(stacked, signature(model), labelled=False)


def test_the_tool_makes_an_int8_candidate_that_runs_and_does_not_saturate() -> None:
    model = convolutions.residual()
    found = made(model).candidate()
    assert found is not None
    assert (found.name, found.lossy) == (peer.NAME, True)
    listed = graphs.samples(model)
    want = graphs.run(model, listed)
    name = next(iter(want[0]))
    runs = [[Session(found.data, Options(exact=e)).run(s) for s in listed] for e in (False, True)]
    assert graphs.sqnr(want, runs[1], name) > 15
    assert all((a[name] == b[name]).all() for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize(
    ("name", "recipe_name"), [("x86_64", "int8-weights"), ("x86_64", "float32"), ("cuda", "int8")]
)
def test_it_is_not_asked_where_nothing_is_quantized_statically(name: str, recipe_name: str) -> None:
    found = made(convolutions.residual(), name, recipe_name)
    assert found.candidate() is None
    assert found.why_not == ""


def test_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(convolutions.residual())
    first = found.candidate()
    monkeypatch.setattr("sys.executable", "/nowhere")
    assert found.candidate() is first


def test_a_failure_of_the_tool_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(zoo.ZOO["linear"]())
    monkeypatch.setattr(peer, "_LIMIT", 0.01)
    assert found.candidate() is None
    assert found.why_not == "int8 by onnxruntime's tool fails: it did not end within 0.01 s"
