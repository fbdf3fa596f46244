"""torch to ONNX, with the real exporters and the real runtime."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgepack.base.errors import EdgepackError, ModelError, RequestError
from edgepack.base.files import sha256
from edgepack.export import Exported, ExportRequest, axes, capture, export
from edgepack.export.capture import Captured, Task
from edgepack.export.cases import Case, make_cases
from edgepack.export.interface import Interface, bind
from edgepack.export.program import load_program
from edgepack.export.source import load_source
from edgepack.export.tolerance import deviation
from edgepack.export.verify import Reference, verify
from edgepack.export.weights import load_weights
from edgepack.graph.census import census, signature
from edgepack.graph.read import parse
from edgepack.graph.write import to_bytes
from tests.torch_models import (
    BakedNumber,
    Branch,
    Counter,
    Digits,
    Nested,
    Noise,
    Packed,
    Recurrent,
    TorchEncoder,
    normal,
    seeded,
)

IMAGE = normal(1, 1, 8, 8)
REQUEST = ExportRequest(IMAGE, dynamic={"image": ["batch"]}, outputs=("scores",))
AGAIN = """
import hashlib
from edgepack.export import export
from edgepack.graph.write import to_bytes
from tests.integration.test_export import REQUEST
from tests.torch_models import Digits, seeded
print(hashlib.sha256(to_bytes(export(seeded(Digits), REQUEST).model)).hexdigest())
"""


@pytest.fixture(scope="module")
def digits() -> Exported:
    return export(seeded(Digits), REQUEST)


def refused(
    module: torch.nn.Module, code: str, request: ExportRequest | None = None
) -> EdgepackError:
    with pytest.raises((ModelError, RequestError)) as caught:
        export(module, request or ExportRequest(normal(2, 3)))
    assert caught.value.code == code
    return caught.value


def test_a_module_is_exported_by_dynamo_and_verified_on_inputs_it_was_not_traced_with(
    digits: Exported,
) -> None:
    assert (digits.exporter, digits.reason, digits.notes) == ("dynamo", "", ())
    assert digits.verified.n == 6  # five like the example, one of batch 2
    assert digits.verified.worst_relative < 1e-5  # a few float32 roundings over four layers
    assert str(signature(digits.model).inputs[0]) == "image: float32[batch,1,8,8]"
    assert str(signature(digits.model).outputs[0]) == "scores: float32[batch,10]"
    assert digits.model.graph.opset_imports == {"": 18}
    assert {"first.weight", "second.bias", "head.weight"} <= set(digits.model.graph.initializers)


def test_nothing_of_the_source_is_left_in_the_model(digits: Exported) -> None:
    for data in (ir.to_proto(digits.model).SerializeToString(), to_bytes(digits.model)):
        for secret in (
            str(Path.home()),
            "torch_models",
            "stack_trace",
            "torch.nn",
            "pkg.",
            "Digits",
        ):
            assert secret.encode() not in data


def test_another_process_exports_the_same_bytes(digits: Exported) -> None:
    root = Path(__file__).parents[2]
    made = subprocess.run([sys.executable, "-c", AGAIN], cwd=root, capture_output=True, check=True)
    assert made.stdout.decode().strip() == sha256(to_bytes(digits.model))


def test_a_lower_opset_falls_back_to_tracing_and_records_why() -> None:
    module = seeded(Digits).train()
    module.head.eval()
    found = export(module, ExportRequest(IMAGE, opset=16))
    assert found.exporter == "torchscript"
    assert found.reason == "ModelError: asked for opset 16, the exporter delivered 18"
    assert found.model.graph.opset_imports[""] == 16
    assert found.notes == ("the module was in training mode; it was exported in eval mode",)
    assert (module.training, module.drop.training, module.head.training) == (True, True, False)


def test_an_opset_that_nobody_delivers_is_an_error() -> None:
    refused(seeded(Digits), "E-OPSET", ExportRequest(IMAGE, opset=5))


def test_dictionaries_keep_their_keys_and_unused_inputs_stay() -> None:
    example = {
        "query": normal(2, 4),
        "context": {"bias": normal(2, 4), "unused": normal(2, 5)},
        "scale": 2.0,
    }
    dynamic = {name: ["batch"] for name in ("query", "bias", "unused")}
    found = signature(export(seeded(Nested), ExportRequest(example, dynamic=dynamic)).model)
    assert [str(spec) for spec in found.inputs] == [
        "query: float32[batch,4]",
        "bias: float32[batch,4]",
        "unused: float32[batch,5]",
    ]
    assert [spec.name for spec in found.outputs] == ["scores", "both", "both_1"]


def test_a_recurrent_module_works_at_other_batch_sizes_and_lengths() -> None:
    tokens = torch.randint(0, 50, (1, 6), generator=torch.Generator().manual_seed(0))
    found = export(seeded(Recurrent), ExportRequest(tokens, dynamic={"tokens": ["batch", "time"]}))
    assert found.verified.n == 8  # five, batch 2, time 12, time 1
    assert census(found.model).ops["LSTM"] == 1
    assert str(signature(found.model).outputs[0]) == "output: float32[batch,3]"


def test_a_branch_on_values_is_refused_with_the_users_line() -> None:
    line = Path(Branch.forward.__code__.co_filename).read_text("utf-8").split("\n")
    number = 1 + next(i for i, text in enumerate(line) if "if x.sum() > 0" in text)
    error = refused(Branch(), "E-CTRL-FLOW")
    assert f"torch_models.py:{number} (if x.sum() > 0:)" in str(error)


def test_tracing_alone_refuses_a_branch_too_and_never_bakes_it_in() -> None:
    task = task_of(Branch(), ExportRequest(normal(2, 3)))[0]
    with pytest.raises(ModelError, match=r"torch_models\.py:\d+ depends on the values"):
        capture.torchscript(task)


def test_torchs_own_transformer_layers_are_exported_and_causal_masks_are_no_branch() -> None:
    module = seeded(TorchEncoder)
    found = export(module, ExportRequest(normal(2, 5, 8), dynamic={"x": ["batch"]}))
    assert found.verified.n == 7
    assert torch.backends.mha.get_fastpath_enabled()


def test_nothing_is_written_to_stdout_where_both_exporters_fail(
    capfd: pytest.CaptureFixture[str],
) -> None:
    refused(Packed(), "E-EXPORT")
    assert capfd.readouterr() == ("", "")


def test_a_number_read_from_a_tensor_is_exported_right_or_not_at_all() -> None:
    assert export(BakedNumber().eval(), ExportRequest(normal(2, 3) * 3)).verified.n == 5
    task, cases = task_of(BakedNumber(), ExportRequest(normal(2, 3) * 3))
    traced = capture.torchscript(task)  # bakes the number in
    with pytest.raises(ModelError, match="differs from torch"):
        verified(traced, task.interface, cases)


@pytest.mark.parametrize("module", [Noise, Counter])
def test_a_module_that_answers_differently_each_time_is_refused(
    module: type[torch.nn.Module],
) -> None:
    refused(module().eval(), "E-RANDOM")


def test_a_wrong_export_is_refused_with_the_first_node_that_differs() -> None:
    task, cases = task_of(seeded(Digits), REQUEST)
    captured = capture.dynamo(task)
    model = parse(captured.data, "test").model
    weight = model.graph.initializers["second.weight"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(
        weight.const_value.numpy() * np.float32(1.1), name="second.weight"
    )
    with pytest.raises(ModelError, match=r"first to differ is node 'node_conv2d_1' \(Conv\)"):
        verify(model, Reference(task.interface, cases, captured.program))


def test_a_module_that_torch_has_quantized_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is deprecated, and still in use
        quantize = torch.ao.quantization.quantize_dynamic
        packed = quantize(seeded(Digits), {torch.nn.Linear})  # type: ignore[no-untyped-call]
    error = refused(packed, "E-TORCH-QUANT", REQUEST)
    assert "'head'" in str(error)


def test_what_does_not_fit_forward_is_told_before_any_export() -> None:
    digits = seeded(Digits)
    assert "forward(image" in str(refused(digits, "E-EXAMPLE", ExportRequest((IMAGE, IMAGE))))
    error = refused(digits, "E-EXAMPLE", ExportRequest(normal(1, 3, 8, 8)))
    assert "image[1, 3, 8, 8]" in str(error)
    error = refused(digits, "E-DYNAMIC", ExportRequest(IMAGE, dynamic={"imag": ["batch"]}))
    assert error.hint == "did you mean 'image'?"
    refused(digits, "E-DYNAMIC", ExportRequest(IMAGE, dynamic={"image": [None, "channels"]}))
    refused(digits, "E-OUTPUTS", ExportRequest(IMAGE, outputs=("a", "b")))


def test_a_saved_program_is_loaded_and_exported(tmp_path: Path) -> None:
    batch = {"image": {0: torch.export.Dim.DYNAMIC}}
    example = (normal(2, 1, 8, 8),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it pickles its examples
        program = torch.export.export(seeded(Digits), example, dynamic_shapes=batch)
        torch.export.save(program, tmp_path / "digits.pt2")
    found = export(load_program(tmp_path / "digits.pt2"), ExportRequest())
    assert str(signature(found.model).inputs[0]) == "image: float32[batch,1,8,8]"
    assert found.verified.n == 7  # five, batch 4, batch 1


def test_a_source_gives_a_module_and_its_example_inputs(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import torch\n"
        "def make(): return torch.nn.Linear(3, 2)\n"
        "def both(): return torch.nn.Linear(3, 2), torch.ones(4, 3)\n"
        "def example_inputs(): return (torch.zeros(1, 3),)\n"
        "number = 3\n"
    )
    made = load_source("model.py:make", tmp_path)
    assert isinstance(made.module, torch.nn.Linear)
    assert bind(made.module, made.example).names == ("input",)
    assert bind(*_pair(tmp_path, "model.py:both")).example[0].shape == (4, 3)
    shaped = load_source("model.py:make", tmp_path, {"input": (5, 3)})
    assert bind(shaped.module, shaped.example).example[0].shape == (5, 3)
    with pytest.raises(ModelError, match="gives int"):
        load_source("model.py:number", tmp_path)
    with pytest.raises(RequestError, match="no parameter 'inputs'"):
        load_source("model.py:make", tmp_path, {"inputs": (5, 3)})
    (tmp_path / "alone.py").write_text("from torch.nn import Identity\n")
    with pytest.raises(ModelError, match="no example inputs"):
        load_source("alone.py:Identity", tmp_path)


def _pair(folder: Path, ref: str) -> tuple[torch.nn.Module, object]:
    source = load_source(ref, folder)
    return source.module, source.example


def test_weights_are_loaded_from_a_state_dict_and_a_mismatch_is_told_in_one_line(
    tmp_path: Path,
) -> None:
    module, path = torch.nn.Linear(3, 2), tmp_path / "w.pt"
    wanted = {"weight": normal(2, 3), "bias": normal(2)}
    for held in (wanted, {"state_dict": wanted, "epoch": 3}):
        torch.save(held, path)
        load_weights(module, path)
        torch.testing.assert_close(module.state_dict(), wanted, rtol=0, atol=0)
    torch.save({"module.weight": normal(2, 3), "bias": normal(4)}, path)
    with pytest.raises(ModelError) as caught:
        load_weights(module, path)
    for part in ("lacks 'weight'", "no place for 'module.weight'", "'bias' is [4], not [2]"):
        assert part in str(caught.value)


def test_deviations_are_measured_against_the_scale_and_nan_must_stand_in_its_place() -> None:
    expected = np.array([100.0, 1.0, np.nan, -np.inf], np.float32)
    found = expected + np.array([0.05, 0.005, 0, 0], np.float32)
    # allowed: 1e-3 of the value and 1e-4 of the largest, 0.11 and 0.011 here
    gap, share, fits = deviation(found, expected)
    assert (round(gap, 3), round(share, 5), fits) == (0.05, 0.0005, True)
    assert not deviation(expected + np.array([0, 0.02, 0, 0], np.float32), expected)[2]
    assert not deviation(np.nan_to_num(expected), expected)[2]
    assert not deviation(np.zeros(3), np.zeros((3, 1)))[2]
    assert not deviation(np.array([np.nan]), np.array([1.0]))[2]
    labels = np.zeros(5000, np.int64)
    assert deviation(labels, np.where(np.arange(5000) == 7, 1, labels))[2]  # one tie in 5000
    assert not deviation(labels[:9], np.arange(9))[2]


def task_of(module: torch.nn.Module, request: ExportRequest) -> tuple[Task, tuple[Case, ...]]:
    interface = bind(module, request.example)
    inputs = axes.requested(interface, request.dynamic)
    cases = make_cases(interface, inputs)
    outputs = tuple(cases[0].expected)
    return Task(module, interface, outputs, (*inputs, *axes.followed(cases)), request.opset), cases


def verified(captured: Captured, interface: Interface, cases: tuple[Case, ...]) -> None:
    verify(parse(captured.data, "test").model, Reference(interface, cases, captured.program))
