"""Emulated arm64: the target's own kernels, counted and compared with this machine."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.base.errors import MachineError, ModelError
from edgepack.cli import main
from edgepack.devices import Cache, Caches, Counting, open_device
from edgepack.devices.qemu import Qemu
from edgepack.runtime import emulated_cpus, emulation, wire
from edgepack.runtime.session import Options, Session
from edgepack.spec.signature import Sample, Signature

Array = npt.NDArray[np.generic]
Port = tuple[str, int, Sequence[int | str]]

NATIVE = Path(emulation.__file__).parent / "native"
RNG = np.random.default_rng(7)
IMAGES: list[Sample] = [
    {"image": RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(4)
]
HWCAPS = {  # bit of AT_HWCAP -> name, AT_HWCAP2 from 64 on; linux, arch/arm64 uapi/asm/hwcap.h
    0: "fp", 1: "asimd", 3: "aes", 4: "pmull", 5: "sha1", 6: "sha2", 7: "crc32", 8: "atomics",
    9: "fphp", 10: "asimdhp", 11: "cpuid", 12: "asimdrdm", 15: "lrcpc", 16: "dcpop",
    20: "asimddp", 22: "sve", 65: "sve2", 73: "svei8mm", 76: "svebf16", 77: "i8mm", 78: "bf16",
    87: "sme", 90: "smei8i32", 91: "smef16f32", 92: "smeb16f32", 93: "smef32f32",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    if gaps := emulation.missing():
        text = f"{gaps[0][0]} is missing: {gaps[0][1]}"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)


def qemu(cpu: str) -> Qemu:
    device = open_device(f"qemu:{cpu}")
    assert isinstance(device, Qemu)
    return device


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    **weights: Array,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def signature(data: bytes, **state: str) -> Signature:
    session = Session(data)
    return Signature(session.inputs, session.outputs, state)


def float_net() -> bytes:
    node = helper.make_node
    return model(
        [
            node("Conv", ["image", "w", "b"], ["c"], pads=[1] * 4),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("MatMul", ["f", "m"], ["scores"]),
        ],
        [("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [("scores", TensorProto.FLOAT, [1, 10])],
        w=RNG.standard_normal((32, 3, 3, 3)).astype(np.float32) / 5,
        b=RNG.standard_normal(32).astype(np.float32),
        m=RNG.standard_normal((32, 10)).astype(np.float32),
    )


def int8_net() -> bytes:
    """Conv, Conv and MatMul in u8 x s8; any two weights add up to at most 128."""
    node = helper.make_node
    nodes: list[onnx.NodeProto] = []

    def in_codes(value: str, scale: str, name: str) -> str:
        nodes.append(node("QuantizeLinear", [value, scale, "zero"], [f"{name}_codes"]))
        nodes.append(node("DequantizeLinear", [f"{name}_codes", scale, "zero"], [name]))
        return name

    def product(op: str, value: str, k: int, **attributes: Any) -> str:
        nodes.append(node("DequantizeLinear", [f"w{k}", "ws"], [f"weight{k}"]))
        nodes.append(node(op, [value, f"weight{k}"], [f"float{k}"], **attributes))
        return f"float{k}"

    at = in_codes("image", "s0", "x0")
    at = in_codes(product("Conv", at, 0, pads=[1] * 4), "s1", "x1")
    at = in_codes(product("Conv", at, 1, pads=[1] * 4), "s2", "x2")
    nodes.append(node("Flatten", [at], ["flat"]))
    in_codes(product("MatMul", in_codes("flat", "s2", "x3"), 2), "s3", "scores")
    steps = {"s0": 0.03, "s1": 0.1, "s2": 1, "s3": 20, "ws": 0.02}
    shapes = {"w0": (32, 3, 3, 3), "w1": (32, 32, 3, 3), "w2": (32 * 256, 10)}
    return model(
        nodes,
        [("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [("scores", TensorProto.FLOAT, [1, 10])],
        zero=np.array(128, np.uint8),
        **{name: np.array(step, np.float32) for name, step in steps.items()},
        **{name: RNG.integers(-64, 65, shape, np.int8) for name, shape in shapes.items()},
    )


def sum_net() -> bytes:
    """Add each frame to the state: ``hn = h + x``, twice over under two names."""
    node = helper.make_node
    return model(
        [
            node("Add", ["h", "x"], ["hn"]),
            node("Identity", ["hn"], ["y"]),
            node("Sub", ["c", "x"], ["cn"]),
        ],
        [
            ("x", TensorProto.FLOAT, ["batch", 2]),
            ("h", TensorProto.FLOAT, ["batch", 2]),
            ("c", TensorProto.FLOAT, ["batch", 2]),
        ],
        [
            ("y", TensorProto.FLOAT, ["batch", 2]),
            ("hn", TensorProto.FLOAT, ["batch", 2]),
            ("cn", TensorProto.FLOAT, ["batch", 2]),
        ],
    )


@pytest.mark.parametrize("cpu", emulated_cpus.CPUS)
def test_a_float_model_gives_what_it_gives_here(cpu: str) -> None:
    net = float_net()
    here = open_device("local").run(net, signature(net), [IMAGES])
    there = qemu(cpu).run(net, signature(net), [IMAGES])
    for mine, theirs in zip(here[0], there[0], strict=True):
        # the same sums in another order: float32 has 24 bits, scores are near 10
        np.testing.assert_allclose(
            np.float64(theirs["scores"]), np.float64(mine["scores"]), atol=1e-5
        )


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76", "armv8.6-i8mm"])
def test_an_int8_model_is_bit_equal_to_exact_mode_here(cpu: str) -> None:
    net = int8_net()
    exact = Session(net, Options(exact=True))
    (there,) = qemu(cpu).run(net, signature(net), [IMAGES])
    assert np.ptp([out["scores"] for out in there]) > 100, "the model should not be saturated"
    for image, out in zip(IMAGES, there, strict=True):
        np.testing.assert_array_equal(out["scores"], exact.run(image)["scores"])


def test_a_cpu_with_dot_products_uses_them() -> None:
    net = int8_net()
    old, new, newest = (
        qemu(cpu).count(net, signature(net), IMAGES[0])
        for cpu in ("cortex-a53", "cortex-a76", "armv8.6-i8mm")
    )
    assert old.classes["dot"] == 0
    assert old.classes["imlal"] > 100_000
    assert new.classes["dot"] > 100_000
    assert new.total < old.total
    assert newest.classes["mmla"] > 10_000


def test_counts_repeat_wherever_temporary_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = float_net()
    device = qemu("cortex-a53")
    assert isinstance(device, Counting)
    first = device.count(net, signature(net), IMAGES[0])
    (tmp_path / "another, longer name").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another, longer name"))
    again = device.count(net, signature(net), IMAGES[0])
    assert again.total == pytest.approx(first.total, rel=1e-3)
    assert sum(first.classes.values()) <= first.total


def test_misses_repeat_and_fall_when_the_caches_grow() -> None:
    net = float_net()
    device = qemu("cortex-a53")
    small, again, large = (
        device.count(net, signature(net), IMAGES[0], Caches(l1, l2))
        for l1, l2 in ((Cache(8, 4), Cache(64, 8)), (Cache(8, 4), Cache(64, 8)),
                       (Cache(64, 4), Cache(1024, 16)))
    )  # fmt: skip
    for name in ("l1_misses", "l2_misses", "loads", "stores"):
        assert small.memory[name] == pytest.approx(again.memory[name], rel=1e-3)
    assert small.memory["loads"] > 10_000
    assert small.memory["loads"] == pytest.approx(large.memory["loads"], rel=1e-3)
    assert small.memory["l1_misses"] > 2 * large.memory["l1_misses"]
    assert small.memory["l2_misses"] <= small.memory["l1_misses"]
    assert not device.count(net, signature(net), IMAGES[0]).memory


def test_what_fits_a_budget_follows_from_counts_alone() -> None:
    assert qemu("cortex-a53").affordable(50_000_000, 120) == 120
    assert qemu("cortex-a53").affordable(10**12, 120) == 0


def test_state_is_carried_within_an_item_and_starts_at_zeros() -> None:
    net = sum_net()
    items = [
        [{"x": np.full((3, 2), value, np.float32)} for value in (1, 2, 4)],
        [{"x": np.full((1, 2), value, np.float32)} for value in (8, 16)],
        [],
    ]
    carried = signature(net, hn="h", cn="c")
    there = qemu("cortex-a53").run(net, carried, items)
    assert [[out["y"][0, 0] for out in item] for item in there] == [[1, 3, 7], [8, 24], []]
    assert [[out["cn"][0, 0] for out in item] for item in there] == [[-1, -3, -7], [-8, -24], []]
    assert [out["hn"].shape for item in there for out in item] == [(3, 2)] * 3 + [(1, 2)] * 2
    here = open_device("local").run(net, carried, items)
    np.testing.assert_equal(there, here)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (1, 2, 1, 2, 1, 2)])
def test_names_dtypes_and_shapes_come_back_as_here(shape: tuple[int, ...]) -> None:
    kinds = ["FLOAT", "FLOAT16", "DOUBLE", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"]
    types = {f"ö {kind}": TensorProto.DataType.Value(kind) for kind in kinds}
    net = model(
        [helper.make_node("Identity", [name], [f"{name} out"]) for name in types],
        [(name, kind, shape) for name, kind in types.items()],
        [(f"{name} out", kind, shape) for name, kind in types.items()],
    )
    sample = {
        name: RNG.integers(0, 2, shape).astype(helper.tensor_dtype_to_np_dtype(kind))
        for name, kind in types.items()
    }
    ((there,),) = qemu("cortex-a53").run(net, signature(net), [[sample]])
    ((here,),) = open_device("local").run(net, signature(net), [[sample]])
    assert list(there) == list(here)
    for name, value in here.items():
        assert (there[name].dtype, there[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(there[name], value)


def test_what_the_runtime_refuses_is_the_models_fault_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    device, net = qemu("cortex-a53"), float_net()
    with pytest.raises(ModelError, match=r"qemu:cortex-a53 refuses: model\.onnx"):
        device.run(b"not a model", signature(net), [IMAGES])
    with pytest.raises(ModelError, match="image"):
        device.run(net, signature(net), [[{"image": np.ones((1, 3, 9, 9), np.float32)}]])
    assert not list(tmp_path.iterdir())


def test_an_instruction_that_the_cpu_lacks_ends_in_a_sentence() -> None:
    device, net = qemu("cortex-a76"), int8_net()
    device._cpu = emulated_cpus.CPUS["cortex-a53"]  # its sysroot still promises dot products
    with pytest.raises(MachineError, match="SIGILL, an instruction that this CPU lacks"):
        device.run(net, signature(net), [IMAGES])


@pytest.mark.parametrize("cpu", emulated_cpus.CPUS)
def test_promised_features_are_those_that_qemu_emulates(cpu: str) -> None:
    loader = str(emulated_cpus.CROSS_LIBRARIES / "ld-linux-aarch64.so.1")
    wanted = emulated_cpus.CPUS[cpu]
    done = subprocess.run(
        [emulation.QEMU, "-cpu", wanted.qemu, "-E", "LD_SHOW_AUXV=1", loader, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    low, high = (
        int(re.search(rf"{name}: +(?:0x)?([0-9a-f]+)", done.stdout)[1], 16)  # type: ignore[index]
        for name in ("AT_HWCAP", "AT_HWCAP2")
    )
    there = {name for bit, name in HWCAPS.items() if (low | high << 64) >> bit & 1}
    assert set(wanted.features.split()) == there


@pytest.mark.parametrize("length", [0, 63, 64, 130, 1000])
def test_the_runner_refuses_a_truncated_samples_file(tmp_path: Path, length: int) -> None:
    data = wire.encode([IMAGES[0]])[:length]
    done = runner(tmp_path, float_net(), data)
    assert done.returncode == 4
    assert re.fullmatch(r"runner: samples (is truncated|is too short).*\n", done.stderr)


def test_the_runner_refuses_bytes_after_the_end(tmp_path: Path) -> None:
    done = runner(tmp_path, float_net(), wire.encode([IMAGES[0]]) + b"more")
    assert (done.returncode, done.stderr) == (4, "runner: samples has 4 bytes too many\n")


def test_the_runner_names_what_it_lacks(tmp_path: Path) -> None:
    data = wire.encode([{"x": np.ones((1, 2), np.float32)}])
    done = runner(tmp_path, sum_net(), data, "--carry", "hn", "h")
    assert (done.returncode, done.stderr) == (4, "runner: samples: the first record lacks 'h'\n")
    done = runner(tmp_path, sum_net(), data, "--carry", "nope", "h")
    assert (done.returncode, done.stderr) == (
        3,
        "runner: model.onnx has no output 'nope' to carry\n",
    )
    done = runner(tmp_path, sum_net(), data, "--repeat", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("runner: usage: ")


def runner(
    folder: Path, net: bytes, samples: bytes, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the C program itself under qemu."""
    parts = emulation.find()
    (folder / "model.onnx").write_bytes(net)
    (folder / "samples").write_bytes(samples)
    command = [str(parts.qemu), "-cpu", "cortex-a53", "-L", str(parts.sysroot("cortex-a53"))]
    command += ["-E", f"LD_LIBRARY_PATH={emulated_cpus.RUNTIME_IN_GUEST}:/lib"]
    command += [str(parts.runner), "run", *options, "model.onnx", "samples", "outputs"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("compiler", ["gcc", "aarch64-linux-gnu-gcc"])
@pytest.mark.parametrize("source", [*emulation.RUNNER, "start.c", "plugin.c"])
def test_the_sources_compile_without_a_warning(tmp_path: Path, compiler: str, source: str) -> None:
    strict = ["-std=gnu11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
    command = [compiler, *strict, "-O2", "-c", str(NATIVE / source), "-o", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_preparing_again_does_nothing() -> None:
    (only,) = emulation.prepare()
    assert only.startswith("arm64 emulation is ready in ")


def test_bench_on_an_emulated_cpu_shows_counts_and_their_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").write_bytes(float_net())
    assert main(["bench", str(tmp_path / "net.onnx"), "--on", "qemu:cortex-a53", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"].values()
    assert result["cycles"] > result["counts"]["total"] / 2
    assert main(["bench", str(tmp_path / "net.onnx"), "--on", "qemu:max"]) == 2
    assert "bounds the speed of 'max'" in capsys.readouterr().err
