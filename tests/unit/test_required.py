"""The operators that a runtime for one model must hold, against what ONNX Runtime's tool lists."""

from pathlib import Path

import onnx_ir as ir
import pytest
from onnxruntime.tools.ort_format_model import create_config_from_models
from onnxruntime.tools.reduced_build_config_parser import parse_config

from edgepack.gate.required import required_operators
from edgepack.graph.write import to_bytes
from edgepack.passes import apply
from edgepack.passes.quantize_static import QuantizeStatic
from edgepack.passes.tidy import Tidy
from edgepack.runtime.session import Options, Session
from tests import graphs, zoo

ORT = {"session.save_model_format": "ORT"}


def quantized(name: str) -> ir.Model:
    model = zoo.ZOO[name]()
    ctx = graphs.context(graphs.SCHEMES["u8s8-pair"], graphs.samples(model))
    for step in (Tidy(), QuantizeStatic()):
        model, _ = apply(step, "step", model, ctx)
    return model


def listed(path: Path) -> set[tuple[str, str]]:
    """Return domain and name of each operator, as a build of ONNX Runtime reads the file."""
    required, _ = parse_config(str(path))
    return {
        (domain, op)
        for domain, opsets in required.items()
        for operators in opsets.values()
        for op in operators
    }


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the tool leaves it open
@pytest.mark.parametrize("name", ["residual", "linear", "transformer"])
def test_a_build_is_asked_for_what_the_runtime_s_own_tool_finds(name: str, tmp_path: Path) -> None:
    model = quantized(name)
    data = to_bytes(model)
    files = []
    for level in ("disable", "extended", "all"):
        files.append(tmp_path / f"{level}.ort")
        Session(data, Options(level=level, save_optimized=files[-1], entries=ORT))
    create_config_from_models(files, tmp_path / "theirs.config", enable_type_reduction=False)
    (tmp_path / "ours.config").write_bytes(required_operators(model, data, "x86_64"))
    assert listed(tmp_path / "ours.config") == listed(tmp_path / "theirs.config")


def test_lines_name_domain_opset_and_operators_in_order() -> None:
    model = zoo.ZOO["residual"]()
    told = required_operators(model, to_bytes(model), "aarch64").decode().splitlines()
    first = next(line for line in told if line.startswith("ai.onnx;"))
    _, opset, operators = first.split(";")
    assert opset == str(model.opset_imports[""])
    assert operators.split(",") == sorted({*operators.split(",")})
    assert {"Conv", "Relu"} <= {*operators.split(",")}
    assert told == sorted(told)
    assert not any("nchwc" in line for line in told)
