"""Generated C apps: built without a warning and run, natively and on emulated ARM."""

import shutil
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from edgepack.cli import main
from tests import apps, c_apps, raws
from tests.apps import built
from tests.c_apps import ARMHF, RUNTIME, SANITIZED, STRICT, embedded, made, run
from tests.models import proto, value


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


def linkable(folder: Path) -> Path:
    """Give the runtime the name that a program linked with it looks for."""
    library = folder / "libonnxruntime.so.1"
    library.symlink_to(RUNTIME)
    return library


def test_the_runtime_can_be_linked(bundles: dict[str, Path], tmp_path: Path) -> None:
    library, app = linkable(tmp_path), embedded(bundles["x86_64"], tmp_path / "app")
    made(app, f"LINK_RUNTIME={library}", f"LDFLAGS=-Wl,-rpath,{tmp_path}")
    done = run("./selftest", folder=app)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dlopen" not in run("nm", "-u", "selftest", folder=app).stdout


@pytest.mark.parametrize("options", [(), ("-DEMBED_MODEL=ON", "-DLINK_RUNTIME=LIBRARY")])
def test_cmake_builds_it_too(
    options: tuple[str, ...], bundles: dict[str, Path], tmp_path: Path
) -> None:
    apps.need(shutil.which("cmake"), "no cmake: scripts/setup")
    library, app = linkable(tmp_path), embedded(bundles["x86_64"], tmp_path / "app")
    given = [each.replace("LIBRARY", str(library)) for each in options]
    flags = f"-DCMAKE_C_FLAGS={STRICT}"
    for words in (["-S", ".", "-B", "build", flags, *given], ["--build", "build"]):
        done = run("cmake", *words, folder=app)
        assert done.returncode == 0, done.stdout + done.stderr
    done = run("build/selftest", *([] if options else [RUNTIME]), folder=app)
    assert done.returncode == 0, done.stdout + done.stderr


CXX = """
#include <cstdio>
#include "stripes.h"

int main(int, char **argv)
{
    stripes_options options{};
    stripes_error error{};
    options.runtime = argv[1];
    stripes_model *model = stripes_create(&options, &error);
    const float image[64] = {};
    stripes_inputs inputs{image};
    stripes_outputs outputs{};
    const bool good = model && stripes_run(model, &inputs, &outputs, &error);
    std::puts(good && outputs.scores[0] == outputs.scores[0] ? "ran" : error.text);
    stripes_destroy(model);
}
"""


def test_a_cxx_program_calls_it(bundles: dict[str, Path], tmp_path: Path) -> None:
    apps.need(shutil.which("g++"), "no g++: scripts/setup")
    app = embedded(bundles["x86_64"], tmp_path / "app")
    (app / "main.cc").write_text(CXX)
    strict = [*STRICT.split(), "-Wpedantic"]
    for words in (
        ["gcc", "-std=c11", *STRICT.split(), "-c", "stripes.c"],
        ["g++", "-std=c++17", *strict, "main.cc", "stripes.o", "-o", "main", "-ldl"],
    ):
        done = run(*words, folder=app)
        assert done.returncode == 0, done.stderr
    assert run("./main", RUNTIME, folder=app).stdout == "ran\n"


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


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76", "max"])
def test_a_c_app_passes_its_self_test_on_emulated_arm64(
    bundles: dict[str, Path], cpu: str, tmp_path: Path
) -> None:
    command = c_apps.arm64(cpu)
    app = embedded(bundles["arm64"], tmp_path / "app")
    made(app, "EMBED_MODEL=1", "CC=aarch64-linux-gnu-gcc", flags=f"-Os -s {STRICT}")
    assert (app / "selftest").stat().st_size - (app / "model.onnx").stat().st_size < 100_000
    done = run(*command, "./selftest", folder=app)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cpu", ["cortex-a7", "max"])
def test_a_c_app_passes_its_self_test_on_emulated_armhf(
    bundles: dict[str, Path], cpu: str, tmp_path: Path
) -> None:
    command = c_apps.armhf(cpu, tmp_path / "root")
    app = embedded(bundles["arm64"], tmp_path / "app")
    made(app, "CC=arm-linux-gnueabihf-gcc")
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


def test_raw_input_does_not_decide_a_size_that_depends_on_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    x = value("x", ["n", 6], TensorProto.INT64)
    model = proto(nodes, inputs=[x], outputs=[value("y", [2, "m"], TensorProto.INT64)])
    bundle = raws.built(model, raws.TEXT, tmp_path / "x", monkeypatch)
    assert main(["embed", str(bundle), "--lang", "c", "-o", str(tmp_path / "app")]) == 2
    assert "has a size that no input decides" in capsys.readouterr().err


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
