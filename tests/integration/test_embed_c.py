"""Generated C apps: built without a warning and run, natively and on emulated ARM."""

import shutil
import subprocess
from pathlib import Path

import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgepack.base.errors import MachineError
from edgepack.cli import main
from edgepack.runtime import emulated_cpus, emulation
from tests import apps
from tests.apps import built
from tests.models import proto, value

RUNTIME = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.1*"))
ARMHF = Path(__file__).parents[2] / ".armhf" / "libonnxruntime.so"  # scripts/setup puts it there
CPUINFO = """processor\t: 0
model name\t: ARMv7 Processor rev 5 (v7l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: 0xc07
CPU revision\t: 5

Hardware\t: Generic
"""
STRICT = "-Wall -Wextra -Werror"
# Of ONNX Runtime's own threads and static objects, the leak checker knows nothing.
SANITIZED = f"-g -O1 {STRICT} -fsanitize=address,undefined -fno-sanitize-recover=all"


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def embedded(bundle: Path, folder: Path) -> Path:
    assert main(["embed", str(bundle), "--lang", "c", "-o", str(folder)]) == 0
    return folder


def made(app: Path, *options: str, flags: str = STRICT) -> Path:
    done = run("make", f"CFLAGS={flags}", *options, folder=app)
    assert done.returncode == 0, done.stderr
    return app


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stripes")
    return {target: apps.stripes(folder, target) for target in ("x86_64", "arm64")}


@pytest.mark.parametrize("target", ["x86_64", "arm64"])
def test_a_c_app_passes_its_self_test_under_sanitizers(
    bundles: dict[str, Path], target: str, tmp_path: Path
) -> None:
    app = made(embedded(bundles[target], tmp_path / "app"), flags=SANITIZED)
    done = run("./selftest", str(RUNTIME), folder=app)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("self-test passed\n")
    assert not done.stderr


def test_the_model_can_be_part_of_the_program(bundles: dict[str, Path], tmp_path: Path) -> None:
    app = made(embedded(bundles["x86_64"], tmp_path / "app"), "EMBED_MODEL=1")
    (app / "model.onnx").unlink()
    assert run("./selftest", str(RUNTIME), folder=app).returncode == 0


def test_a_c_app_refuses_another_model(bundles: dict[str, Path], tmp_path: Path) -> None:
    app = made(embedded(bundles["x86_64"], tmp_path / "app"), flags=SANITIZED)
    (app / "model.onnx").write_bytes((app / "model.onnx").read_bytes() + b"x")
    done = run("./selftest", str(RUNTIME), folder=app)
    assert done.returncode == 1
    assert "not the file this app was generated for" in done.stderr


def test_a_c_app_without_a_runtime_says_so(bundles: dict[str, Path], tmp_path: Path) -> None:
    app = made(embedded(bundles["x86_64"], tmp_path / "app"), flags=SANITIZED)
    done = run("./selftest", "./nothing.so", folder=app)
    assert done.returncode == 1
    assert "cannot open onnxruntime" in done.stderr


def why_no_arm64() -> str:
    try:
        emulation.find()
    except MachineError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76", "max"])
def test_a_c_app_passes_its_self_test_on_emulated_arm64(
    bundles: dict[str, Path], cpu: str, tmp_path: Path
) -> None:
    apps.need(not (reason := why_no_arm64()), reason)
    parts = emulation.find()
    app = embedded(bundles["arm64"], tmp_path / "app")
    made(app, "EMBED_MODEL=1", "CC=aarch64-linux-gnu-gcc", flags=f"-Os -s {STRICT}")
    assert (app / "selftest").stat().st_size - (app / "model.onnx").stat().st_size < 100_000
    command = ["qemu-aarch64", "-cpu", emulated_cpus.find(cpu).qemu, "-L", str(parts.sysroot(cpu))]
    command += ["-E", f"LD_LIBRARY_PATH={emulated_cpus.RUNTIME_IN_GUEST}:/lib", "./selftest"]
    done = run(*command, folder=app)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cpu", ["cortex-a7", "max"])
def test_a_c_app_passes_its_self_test_on_emulated_armhf(
    bundles: dict[str, Path], cpu: str, tmp_path: Path
) -> None:
    programs = shutil.which("qemu-arm") and shutil.which("arm-linux-gnueabihf-gcc")
    apps.need(programs and ARMHF.exists(), "no emulated armhf: scripts/setup")
    app = embedded(bundles["arm64"], tmp_path / "app")
    made(app, "CC=arm-linux-gnueabihf-gcc")
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
    (root / "lib").symlink_to("/usr/arm-linux-gnueabihf/lib")
    command = ["qemu-arm", "-cpu", cpu, "-L", str(root), "-E", "LD_LIBRARY_PATH=/lib"]
    done = run(*command, "./selftest", str(ARMHF), folder=app)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["run", "read", "model", "int", "selftest", '3 " ö'])
def test_names_that_c_has_taken(name: str, tmp_path: Path) -> None:
    names = ["class", "a b", "a-b", "größe", "3d", "model", "in", "error", "*/ x", 'q"??/uote']
    kinds = [TensorProto.FLOAT] * 9 + [TensorProto.INT64]
    inputs = [value(each, [2, 3], kind) for each, kind in zip(names, kinds, strict=True)]
    nodes = [
        helper.make_node("Sum", names[:9], ["s"]),
        helper.make_node("Cast", [names[9]], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["s", "f"], ["return"]),
    ]
    model = proto(nodes, inputs=inputs, outputs=[value("return", [2, 3])])
    app = made(embedded(built(model, tmp_path, name), tmp_path / "app"))
    done = run("./selftest", str(RUNTIME), folder=app)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_output_whose_size_no_input_decides_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    model = proto(nodes, outputs=[value("y", [2, "n"], TensorProto.INT64)])
    bundle = built(model, tmp_path)
    assert main(["embed", str(bundle), "--lang", "c", "-o", str(tmp_path / "app")]) == 2
    assert "has a size that no input decides" in capsys.readouterr().err
    assert not (tmp_path / "app").exists()


def test_a_c_app_carries_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = apps.echo(tmp_path, monkeypatch)
    app = embedded(bundle, tmp_path / "app")
    (app / "selftest.c").write_text(
        '#include <stdio.h>\n#include "echo.h"\n'
        "int main(int argc, char **argv) {\n"
        "    echo_options options = {.runtime = argc > 1 ? argv[1] : NULL};\n"
        "    echo_model *model = echo_create(&options, NULL);\n"
        "    float x[2] = {1, 1};\n    echo_inputs in = {.x = x};\n    echo_outputs out;\n"
        "    for (int i = 0; i < 4; i++) {\n"
        "        if (i == 3) echo_reset(model);\n"
        "        if (!model || !echo_run(model, &in, &out, NULL)) return 1;\n"
        '        printf("%g ", out.y[0]);\n    }\n    echo_destroy(model);\n}\n'
    )
    done = run("./selftest", str(RUNTIME), folder=made(app, flags=SANITIZED))
    assert done.stdout == "2 4 6 2 "
