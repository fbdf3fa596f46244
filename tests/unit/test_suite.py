"""The file of a suite: what it stands for, and what is refused before anything is measured."""

from pathlib import Path

import pytest

from edgepack.base.errors import RequestError
from edgepack.bench import suite
from edgepack.bench.scenario import Cold, Server, Single


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.onnx", "m-x86_64.onnx", "m-arm64.onnx"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def read(folder: Path, text: str) -> list[suite.Task]:
    path = folder / "suite.toml"
    path.write_text(text)
    return suite.read(path)


def test_a_suite_is_the_product_of_its_lists_in_their_order(folder: Path) -> None:
    tasks = read(
        folder,
        """
        models = ["m-{target}.onnx", {path = "a.onnx", shape = {x = [1, 4]}}]
        targets = ["x86_64", "arm64"]
        scenarios = ["single", {scenario = "cold", runs = 3}]
        threads = 1
        """,
    )
    assert [(each.model, each.scenario) for each in tasks] == [
        (model, scenario)
        for model in ("m-x86_64.onnx", "m-arm64.onnx", "a.onnx")
        for scenario in (Single(), Cold(runs=3))
    ]
    assert tasks[-1].shape == {"x": (1, 4)}
    assert {each.path.parent for each in tasks} == {folder}
    assert not any(each.skipped for each in tasks)


def test_an_emulated_cpu_counts_once_whatever_the_scenarios(folder: Path) -> None:
    devices = 'devices = ["local", "qemu:cortex-a53"]'
    tasks = read(folder, f'models = ["a.onnx"]\n{devices}\nscenarios = ["single", "cold"]')
    assert [bool(each.skipped) for each in tasks] == [False, False, False, True]


def test_the_fields_of_a_scenario_are_its_own(folder: Path) -> None:
    (task,) = read(folder, 'models = ["a.onnx"]\nscenarios = [{scenario = "server", rate = 5.0}]')
    assert task.scenario == Server(rate=5.0)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ('modles = ["a.onnx"]', "modles", "models"),
        ('models = ["a.onnx"]\ndevcies = []', "devcies", "devices"),
        ('models = [{path = "a.onnx", shpae = {}}]', "shpae", "shape"),
        ('models = ["b.onnx"]', "no model at 'b.onnx'", ""),
        ('models = ["m-{target}.onnx"]', "needs targets", "targets ="),
        ('models = ["m-{target}.onnx"]\ntargets = ["arm46"]', "no model at 'm-arm46.onnx'", ""),
        ('models = ["a.onnx"]\nscenarios = ["singel"]', "no scenario 'singel'", "single"),
        ('models = ["a.onnx"]\nscenarios = [{scenario = "cold", rnus = 3}]', "rnus", "runs"),
        ('models = ["a.onnx"]\nscenarios = [{scenario = "cold", runs = "3"}]', "int", ""),
        ('models = ["a.onnx"]\ndevices = ["lokal"]', "no device named 'lokal'", "local"),
        ('models = ["a.onnx"]\ndevices = ["qemu:cortex-a5"]', "cortex-a5", "cortex-a53"),
        ('models = ["a.onnx"]\nthreads = -1', "negative", ""),
        ("models = []", "names nothing", ""),
        (
            'models = ["a.onnx"]\ndevices = ["qemu:cortex-a53"]\nscenarios = ["cold"]',
            "nothing can be measured",
            "",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named_with_what_may_be_meant(
    folder: Path, text: str, said: str, hint: str
) -> None:
    with pytest.raises(RequestError) as error:
        read(folder, text)
    assert said in str(error.value)
    assert hint in error.value.hint
