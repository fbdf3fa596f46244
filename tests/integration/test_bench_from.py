"""``edgepack bench --from``: stored samples are shown and written again, unmeasured."""

import json
from pathlib import Path

import msgspec
import pytest

from edgepack.bench import estimate, measured, operators, remote, series, stored
from edgepack.bench.measured import Result
from edgepack.bench.operators import Operator
from edgepack.bench.scenario import Single
from edgepack.cli import main
from edgepack.devices import Counts
from tests import comparisons

MATMUL = Operator("mm", "MatMul", 2e-6)
RELU = Operator("r", "Relu", 1e-6)


def result(*profile: Operator) -> Result:
    starts = [0.001 * number for number in range(100)]
    found = comparisons.measurement("m.onnx", starts, [0.001] * 100)
    return msgspec.structs.replace(found, operators=profile)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("bench.json").write_bytes(measured.encode((result(MATMUL, RELU),)))
    good = series.Cell("m.onnx", "local", Single(), result=result())
    bad = series.Cell("n.onnx", "local", Single(), fault=series.Fault(3, "E-MODEL", "no model", ""))
    Path("suite.json").write_bytes(series.encode([good, bad]))
    ran: dict[str, tuple[float, ...]] = {"wall": (0.002,) * 100, "cpu": (0.002,) * 100}
    pi = remote.Remote("m.onnx", "00", 1, 0, ran, {}, "ssh://pi")
    Path("ssh.json").write_bytes(msgspec.json.encode(remote.File((pi,))))
    memory = dict.fromkeys(("loads", "stores", "l1_misses", "l2_misses"), 7)
    counted = {"m.onnx": estimate.Estimate(Counts(4321, {}, memory), 99.0)}
    Path("qemu.json").write_bytes(msgspec.json.encode(estimate.File("qemu:cortex-a53", counted)))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code", "shown"),
    [
        ("bench.json", 0, ("m.onnx", "1 ms", "100", "MatMul")),
        ("suite.json", 3, ("m.onnx", "1 ms", "error[E-MODEL]: no model")),
        ("ssh.json", 0, ("ssh://pi", "2 ms")),
        ("qemu.json", 0, ("4.32 k", "qemu:cortex-a53")),
    ],
)
def test_each_form_is_shown_again_with_the_code_it_had(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, shown: tuple[str, ...]
) -> None:
    assert main(["bench", "--from", name]) == code
    said = capsys.readouterr().out
    assert all(word in said for word in shown), said
    assert main(["bench", "--from", name, "--json", "-o", "copy.json"]) == code
    assert (
        json.loads(capsys.readouterr().out)["format"]
        == json.loads(Path(name).read_bytes())["format"]
    )
    assert stored.load(folder / "copy.json") == stored.load(folder / name)


def test_other_forms_are_written_from_stored_samples(folder: Path) -> None:
    others = ["--format", "github-action-benchmark", "-o", "g.json", "--html", "p.html"]
    assert main(["bench", "--from", "bench.json", *others, "--profile", "t.json"]) == 0
    rows = json.loads((folder / "g.json").read_bytes())
    assert [(row["name"][-3:], row["value"]) for row in rows] == [("p50", 1.0), ("p90", 1.0)]
    assert b"<svg" in (folder / "p.html").read_bytes()
    events = json.loads((folder / "t.json").read_bytes())
    assert [(event["ts"], event["dur"]) for event in events] == [(0.0, 2.0), (2.0, 1.0)]
    assert [event["args"]["op_name"] for event in events] == ["MatMul", "Relu"]
    assert main(["bench", "--from", "suite.json", "--format", "pytest-benchmark", "-o", "b"]) == 3
    (row,) = json.loads((folder / "b").read_bytes())["benchmarks"]
    assert row["stats"]["rounds"] == 100


def test_a_trace_of_medians_is_read_as_the_runtime_s_own_is() -> None:
    run = json.loads(operators.trace((MATMUL, RELU)))
    one = [*run, {"name": "model_run"}]
    assert operators.read(json.dumps(one * (operators.WARMUP + 1)).encode()) == (MATMUL, RELU)


@pytest.mark.parametrize(
    ("args", "code", "said", "hint"),
    [
        (["none.json"], 2, "cannot read 'none.json': no such file", "bench -o"),
        (["compare.json"], 4, "is no measurement", "compare --from"),
        (["text.json"], 4, "is no measurement", "bench -o"),
        (["empty.json"], 4, "holds no measurement", "-o"),
        (["bench.json", "m.onnx"], 2, "MODEL", "leave"),
        (["bench.json", "--threads", "0"], 2, "--threads", "leave"),
        (["bench.json", "--against", "x.json"], 2, "--against", "leave"),
        (["bench.json", "--suite", "s.toml"], 2, "--suite", "leave"),
        (["suite.json", "--profile", "t.json"], 2, "0 models with a profile", "--profile"),
        (["ssh.json", "--html", "p.html"], 2, "--html", "leave"),
        (["qemu.json", "--format", "pytest-benchmark"], 2, "--format", "leave"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_shown_is_refused_with_what_can_be_done(
    capsys: pytest.CaptureFixture[str], args: list[str], code: int, said: str, hint: str
) -> None:
    Path("text.json").write_text("{}")
    Path("empty.json").write_bytes(measured.encode(()))
    Path("compare.json").write_text('{"format": "edgepack-compare/1"}')
    before = sorted(Path().iterdir())
    assert main(["bench", "--from", *args]) == code
    error, told = capsys.readouterr().err.splitlines()
    assert said in error
    assert hint in told
    assert sorted(Path().iterdir()) == before
