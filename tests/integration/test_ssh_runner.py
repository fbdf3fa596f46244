"""Devices without Python: the C runner travels there; one of them is an emulated arm64 board."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgepack.base.errors import EdgepackError, MachineError, ModelError
from edgepack.bench import remote
from edgepack.cli import main
from edgepack.devices import Opened, Timing, Turns, open_device
from edgepack.runtime import emulation, machine, runners
from edgepack.runtime.remote.refusals import LostError
from edgepack.spec.signature import Sample, Signature, TensorSpec
from tests.models import proto, value
from tests.ssh_device import Device, as_arm64, running, without_python

FACE = Signature((TensorSpec("x", "float32", (2, 4)),), (TensorSpec("y", "float32", (2, 4)),))
SAMPLES: list[Sample] = [{"x": np.full((2, 4), k, np.float32)} for k in range(3)]
LIBRARY = emulation.RUNTIME_LIBRARY


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    native = "gcc" if shutil.which("gcc") is None else ""
    gaps = emulation.missing() or ([(native, "")] if native else [])
    if gaps:
        text = f"{gaps[0][0]} is missing: {gaps[0][1]}"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    for arch in ("aarch64", machine.arch()):
        list(runners.prepare(arch))


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with running(tmp_path / "a device") as there:
        monkeypatch.setenv("EDGEPACK_SSH", f"ssh -F '{there.folder / 'config'}'")
        without_python(there)
        yield there


@pytest.fixture
def board(device: Device) -> Device:
    as_arm64(device)
    return device


def net(times: float = 1.0) -> bytes:
    weight = np.arange(16, dtype=np.float32).reshape(4, 4) * np.float32(times)
    data: bytes = proto(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"w": weight},
        inputs=[value("x", [2, 4])],
        outputs=[value("y", [2, 4])],
    ).SerializeToString()
    return data


def sum_net() -> bytes:
    data: bytes = proto(
        [helper.make_node("Add", ["h", "x"], ["hn"]), helper.make_node("Neg", ["hn"], ["y"])],
        {},
        inputs=[value("x", [1]), value("h", [1])],
        outputs=[value("y", [1]), value("hn", [1])],
    ).SerializeToString()
    return data


def timing(device: Device) -> Timing:
    there = open_device(device.name)
    assert isinstance(there, Timing)
    return there


def refusal(device: Device) -> EdgepackError:
    with pytest.raises(MachineError) as caught:
        open_device(device.name).run(net(), FACE, [SAMPLES])
    return caught.value


def placed(device: Device) -> list[Path]:
    return sorted((device.home / ".cache/edgepack").glob("*"))


def test_a_device_without_python_gives_what_this_machine_gives(device: Device) -> None:
    there = open_device(device.name)
    assert (there.arch, there.runtime) == (machine.arch(), open_device("local").runtime)
    np.testing.assert_equal(
        there.run(net(), FACE, [SAMPLES]), open_device("local").run(net(), FACE, [SAMPLES])
    )
    assert not list((device.folder / "tmp").iterdir())


def test_an_arm64_board_carries_state_and_starts_it_at_zeros(board: Device) -> None:
    one = [TensorSpec(name, "float32", (1,)) for name in ("x", "h", "y", "hn")]
    face = Signature(tuple(one[:2]), tuple(one[2:]), {"hn": "h"})
    items: list[list[Sample]] = [
        [{"x": np.full(1, k, np.float32)} for k in ks] for ks in ((1, 2, 4), (8, 16))
    ]
    there = open_device(board.name)
    assert (there.arch, "asimd" in there.features) == ("aarch64", True)
    ran = there.run(sum_net(), face, items)
    assert [[float(out["hn"][0]) for out in item] for item in ran] == [[1, 3, 7], [8, 24]]


def test_the_runner_travels_once_and_again_where_it_was_damaged(device: Device) -> None:
    def uploads() -> int:
        return sum("runner-" in command and "tar xf" in command for command in device.commands)

    for count in (1, 1):
        open_device(device.name).run(net(), FACE, [SAMPLES])
        assert uploads() == count
    (folder,) = placed(device)
    library = folder / LIBRARY
    data = bytearray(library.read_bytes())
    data[1000] ^= 1
    library.write_bytes(data)
    open_device(device.name).run(net(), FACE, [SAMPLES])
    assert uploads() == 2
    assert placed(device) == [folder]
    data[1000] ^= 1
    assert library.read_bytes() == data


def test_a_runner_that_nobody_used_for_a_month_goes_when_another_comes(device: Device) -> None:
    old, new = (device.home / f".cache/edgepack/runner-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    month = time.time() - 32 * 86400
    os.utime(old, (month, month))
    open_device(device.name).run(net(), FACE, [SAMPLES])
    assert new.exists()
    assert not old.exists()


def test_every_run_is_timed_there_at_the_options_asked_for(device: Device) -> None:
    heard: list[list[str]] = []
    models = [
        Opened(net(), 1, "all", {"session.intra_op.allow_spinning": "0"}),
        Opened(sum_net(), 2, "basic", {}),
    ]
    both: list[Sample] = [{"x": np.ones((2, 4), np.float32)}]
    with timing(device).timer(models, both) as timer:
        turns = Turns([("a", "3a"), ("a", "aa")], before=1, warmup=2)
        timer.time(turns, heard.append, 60.0)
    kinds = [words[0] for words in heard]
    once = ["doing", "doing", "opened"]
    assert kinds == [*once, *("a" * 3), "paired", *once, *("a" * 2), "paired"]
    assert heard[0] == ["doing", "opening", "A"]
    assert all(int(wall) > 0 and int(stops) >= 0 for _, wall, _, stops in heard[3:6])


def test_options_that_the_runtime_does_not_know_are_refused_by_it(device: Device) -> None:
    model = Opened(net(), 1, "all", {"k" * 1025: "a key may have 1024 bytes"})
    with (
        timing(device).timer([model], SAMPLES) as timer,
        pytest.raises(ModelError, match=r"refuses: k+: "),
    ):
        timer.time(Turns([("a", "a")]), lambda _: None, 60.0)


def test_bench_on_an_arm64_board_keeps_every_run(
    board: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(net())
    command = ["bench", str(path), "--on", board.name, "--runs", "9", "--warmup", "1"]
    assert main([*command, "--threads", "1", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert [len(taken) for taken in result["samples"].values()] == [9, 9]
    assert result["machine"]["arch"] == "aarch64"


def test_compare_on_an_arm64_board_ends_with_a_verdict(
    board: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, times in (("a", 1.0), ("b", 2.0)):
        (tmp_path / f"{name}.onnx").write_bytes(net(times))
    models = [str(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    command = ["compare", *models, "--on", board.name, "--budget", "15s", "--threads", "1"]
    assert main([*command, "--json"]) in {0, 8, 9}
    assert json.loads(capsys.readouterr().out)["processes"] >= 2


def test_a_model_that_the_runtime_there_refuses_is_the_models_fault(board: Device) -> None:
    there = open_device(board.name)
    with pytest.raises(ModelError, match=r"on ssh://pi@127\.0\.0\.1:\d+ refuses: model\.onnx"):
        there.run(b"not a model", FACE, [SAMPLES])
    with pytest.raises(ModelError, match=r"refuses: .*x"):
        there.run(net(), FACE, [[{"x": np.ones((9, 9), np.float32)}]])


def test_what_the_login_prints_is_not_taken_for_an_answer(board: Device) -> None:
    board.greeting = b"Welcome!\n\x00\xff edgepack-0 end 0\nat /nowhere\nno newline"
    np.testing.assert_equal(  # whole numbers
        open_device(board.name).run(net(), FACE, [SAMPLES])[0][1]["y"],
        open_device("local").run(net(), FACE, [SAMPLES])[0][1]["y"],
    )


def test_a_device_without_room_for_the_runner_says_how_much_there_is(device: Device) -> None:
    device.program("df", "echo head; echo disk 10 8 2 80% /")
    error = refusal(device)
    assert error.code == "E-DISK"
    assert "2.0 kB are free" in str(error)
    assert not placed(device)


def test_a_device_that_fills_up_meanwhile_keeps_no_half_of_a_runner(device: Device) -> None:
    device.program("tar", "head -c 1000 >/dev/null; echo tar: No space left on device >&2; exit 2")
    assert "No space left on device" in str(refusal(device))
    assert not placed(device)


def test_another_architecture_than_it_says_is_a_sentence(device: Device) -> None:
    other = "x86_64" if machine.arch() == "aarch64" else "aarch64"
    device.program("uname", f'case "$1" in -m) echo {other};; *) echo Linux;; esac')
    error = refusal(device)
    assert "the runner does not start on ssh://" in str(error)
    assert "glibc" in error.hint


def test_a_cpu_without_a_runner_is_told_at_once(device: Device) -> None:
    device.program("uname", 'case "$1" in -m) echo armv7l;; *) echo Linux;; esac')
    with pytest.raises(MachineError, match="no runner for 'armv7l'"):
        open_device(device.name)


@pytest.mark.parametrize("step", ["loadavg", "sha256sum", "tar xf", "version", "outputs", "rm"])
def test_a_connection_that_is_lost_at_any_step_is_an_error_and_the_next_run_works(
    device: Device, step: str
) -> None:
    device.cut_when, device.cut_after, device.cuts = step, 0, 99
    if step == "rm":  # the answer is there already: what is left behind goes another day
        open_device(device.name)
    else:
        error = refusal(device)
        assert isinstance(error, LostError) or "cannot be reached" in str(error)
    device.cuts = 0
    open_device(device.name).run(net(), FACE, [SAMPLES])


def test_a_measurement_goes_on_where_the_connection_was_lost(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_STREAM", 1e-6)
    (tmp_path / "net.onnx").write_bytes(net())
    there = timing(device)
    device.cut_when, device.cut_after = "--samples", 1000
    result = remote.measure(tmp_path / "net.onnx", there, threads=1, runs=60, warmup=1)
    assert (len(result.samples["wall"]), result.lost) == (60, 1)


def test_a_runner_that_hangs_is_given_up_and_ends_with_its_connection(device: Device) -> None:
    with timing(device).timer([Opened(net(), 1, "all", {})], SAMPLES) as timer:
        with pytest.raises(MachineError, match="has said nothing for 1 s"):
            timer.time(Turns([("a", "a")], before=999999998), lambda _: None, 1.0)
        pause = time.monotonic() + 20
        while alive() and time.monotonic() < pause:
            time.sleep(0.1)
        assert not alive()


def alive() -> list[Path]:
    """Return the runners of this test that are still there."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"999999998" in each.read_bytes() and b"--samples" in each.read_bytes():
                found.append(each)
        except OSError:
            continue
    return found


def test_a_board_tells_what_it_is_and_which_targets_it_stands_for(
    board: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", board.name, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["architecture"], "arm64" in facts["is a device of"]) == ("aarch64", True)
    assert facts["runs models with"] == "the runner that travels there"
    assert not placed(board)


def test_what_devices_need_is_listed_and_prepared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["devices", "prepare", "ssh", "--json"]) == 0
    ways = json.loads(capsys.readouterr().out)["ssh"]
    assert any("aarch64 Linux" in way["needs"] for way in ways)
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path))
    assert main(["devices", "--json"]) == 0
    ways = json.loads(capsys.readouterr().out)["ssh"]
    assert sum("edgepack devices prepare ssh" in way["needs"] for way in ways) == 2
