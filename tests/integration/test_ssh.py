"""A device over ssh: a real client and a real server on loopback, and what goes wrong between."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, load_model_from_string

from edgepack.base.errors import EdgepackError, MachineError, ModelError, RequestError
from edgepack.bench import arms, record, remote, series, subject, suite, tuning
from edgepack.bench.contest import Contest, Terms
from edgepack.bench.ground import There
from edgepack.bench.verdict import Bars, judge
from edgepack.bundle.golden import Golden
from edgepack.cli import bench as cli
from edgepack.cli import compare
from edgepack.devices import Opened, Timing, Turns, open_device
from edgepack.gate.candidates import Candidate
from edgepack.gate.tuned import Settled, tune
from edgepack.runtime import machine
from edgepack.runtime.remote import link
from edgepack.runtime.remote.refusals import LostError
from edgepack.runtime.session import Session
from edgepack.spec import target
from edgepack.spec.signature import Sample, Signature, TensorSpec
from tests.models import proto, value
from tests.ssh_device import Device, closed_port, running, without_python

SAMPLES: list[Sample] = [{"x": np.full((2, 4), k, np.float32)} for k in range(3)]
FACE = Signature((TensorSpec("x", "float32", (2, 4)),), (TensorSpec("y", "float32", (2, 4)),))


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    with running(tmp_path / "a device") as there:
        monkeypatch.setenv("EDGEPACK_SSH", f"ssh -F '{there.folder / 'config'}'")
        yield there


def net() -> bytes:
    weight = np.arange(16, dtype=np.float32).reshape(4, 4)
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


def left_behind(device: Device) -> list[Path]:
    return list((device.folder / "tmp").iterdir())


def test_a_model_gives_there_what_it_gives_here_and_leaves_nothing_behind(device: Device) -> None:
    there = open_device(device.name)
    assert (there.arch, set(there.features)) == (machine.arch(), set(machine.features() or ()))
    np.testing.assert_equal(
        there.run(net(), FACE, [SAMPLES]), open_device("local").run(net(), FACE, [SAMPLES])
    )
    assert not left_behind(device)


def test_state_is_carried_within_an_item_and_starts_at_zeros(device: Device) -> None:
    one = [TensorSpec(name, "float32", (1,)) for name in ("x", "h", "y", "hn")]
    face = Signature(tuple(one[:2]), tuple(one[2:]), {"hn": "h"})
    items: list[list[Sample]] = [
        [{"x": np.full(1, k, np.float32)} for k in ks] for ks in ((1, 2, 4), (8, 16))
    ]
    ran = open_device(device.name).run(sum_net(), face, items)
    assert [[float(out["hn"][0]) for out in item] for item in ran] == [[1, 3, 7], [8, 24]]


def test_what_the_login_prints_is_not_taken_for_an_answer(device: Device) -> None:
    device.greeting = b'Welcome!\n{"system": "toaster"}\n\x00\xff edgepack-0 end 0\nno newline'
    np.testing.assert_equal(
        open_device(device.name).run(net(), FACE, [SAMPLES]),
        open_device("local").run(net(), FACE, [SAMPLES]),
    )


def test_a_model_that_the_runtime_there_refuses_is_the_models_fault(device: Device) -> None:
    there = open_device(device.name)
    with pytest.raises(ModelError, match=r"on ssh://pi@127\.0\.0\.1:\d+ refuses: model\.onnx"):
        there.run(b"not a model", FACE, [SAMPLES])
    with pytest.raises(ModelError, match=r"refuses: .*x"):
        there.run(net(), FACE, [[{"x": np.ones((9, 9), np.float32)}]])
    assert not left_behind(device)


def test_a_device_without_python_gives_the_lines_to_type(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path / "empty"))
    without_python(device)
    hint = refusal(device.name).hint
    assert "edgepack devices prepare ssh; or ssh" in hint
    assert "pip install onnxruntime" in hint


def test_a_device_that_refuses_gives_a_hint(device: Device) -> None:
    assert "sshd" in refusal(f"ssh://pi@127.0.0.1:{closed_port()}").hint
    (device.folder / "known_hosts").write_text("")
    assert "accept it: ssh -p" in refusal(device.name).hint


def test_a_key_that_is_not_let_in_gives_a_hint(device: Device) -> None:
    config = device.folder / "config"
    config.write_text(config.read_text().replace("a device/key", "a device/known_hosts"))
    assert refusal(device.name).hint.startswith("let it in with a key: ssh-copy-id -p")


def test_without_ssh_here_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_SSH", "no-such-ssh")
    assert refusal("ssh://pi@host").hint == "apt-get install openssh-client"


def test_an_account_without_a_shell_is_told_from_a_device_that_is_away(device: Device) -> None:
    device.program("sh", "echo This account is not available >&2; exit 1")
    assert "gives no shell: This account is not available" in str(refusal(device.name))


def test_a_device_that_hangs_is_given_up(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.silent = True
    monkeypatch.setattr(link, "_GREETING", 1.0)
    assert refusal(device.name).code == "E-HANGS"


def test_another_system_is_refused(device: Device) -> None:
    device.program("uname", "echo Darwin")
    assert "runs 'Darwin'" in str(refusal(device.name))


def test_a_device_without_room_says_how_much_there_is(device: Device) -> None:
    there = open_device(device.name)
    device.program("df", "echo head; echo disk 10 8 2 80% /")
    with pytest.raises(MachineError, match=r"takes no .* 2\.0 kB are free") as caught:
        there.run(net(), FACE, [SAMPLES])
    assert caught.value.code == "E-DISK"
    assert not left_behind(device)


def test_a_device_that_fills_up_meanwhile_is_reported(device: Device) -> None:
    there = open_device(device.name)
    device.program("tar", "cat >/dev/null; echo tar: No space left on device >&2; exit 2")
    with pytest.raises(MachineError, match="No space left on device"):
        there.run(net(), FACE, [SAMPLES])
    assert not left_behind(device)


@pytest.mark.parametrize("cut", [0, 30, 300])
def test_a_connection_that_is_lost_is_an_error_of_the_machine(device: Device, cut: int) -> None:
    device.cut_after = cut
    with pytest.raises(MachineError) as caught:
        open_device(device.name)
    assert isinstance(caught.value, LostError) or "cannot be reached" in str(caught.value)


def test_every_run_is_timed_there_and_its_samples_come_back(device: Device, tmp_path: Path) -> None:
    result = remote.measure(model_in(tmp_path), device_of(device), threads=1, runs=7, warmup=2)
    assert [len(taken) for taken in result.samples.values()] == [7, 7]
    assert min(*result.samples["wall"], *result.samples["cpu"]) > 0
    assert (result.device, result.lost, result.incomplete) == (device.name, 0, "")
    assert not left_behind(device)


def test_a_measurement_goes_on_where_the_connection_was_lost(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_STREAM", 1e-6)
    there = device_of(device)
    device.cut_when = "agent.py time"
    device.cut_after = 1000
    result = remote.measure(model_in(tmp_path), there, threads=1, runs=60, warmup=1)
    assert (len(result.samples["wall"]), result.lost) == (60, 1)


def test_what_was_measured_is_kept_where_the_connection_is_lost_for_good(
    device: Device,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(remote, "_STREAM", 1e-6)
    there = device_of(device)
    device.cut_when, device.cut_after, device.cuts = "agent.py time", 1000, 99
    out = tmp_path / "kept.json"
    code = cli.bench(
        [model_in(tmp_path)], on=[there.name], runs=500, warmup=1, threads=1, out=out, json=True
    )
    said = capsys.readouterr()
    assert code == json.loads(said.out)["error"]["exit"] == 6
    assert "error[E-LOST]" in said.err
    (result,) = json.loads(out.read_text())["results"]
    assert 0 < len(result["samples"]["wall"]) < 500
    assert "was lost" in result["incomplete"]


def test_a_cell_of_a_suite_is_timed_there_and_only_in_the_scenario_it_offers(
    device: Device, tmp_path: Path
) -> None:
    path, name = model_in(tmp_path), device_of(device).name
    (tmp_path / "suite.toml").write_text(
        f'models = ["{path.name}"]\ndevices = ["{name}"]\nthreads = 1\n'
        'scenarios = [{scenario = "single", runs = 7, warmup = 1}, "cold"]\n'
    )
    tour = series.Series(suite.read(tmp_path / "suite.toml"))
    assert tour.measure()
    timed, cold = tour.cells
    assert timed.remote is not None
    assert len(timed.remote.samples["wall"]) == 7
    assert "for this machine only" in cold.skipped


def test_an_agent_ends_with_its_connection(device: Device) -> None:
    there = device_of(device)
    with there.timer([Opened(net(), 1, "all", {})], SAMPLES) as timer:
        with pytest.raises(MachineError, match="has said nothing for 1 s"):
            timer.time(Turns([("a", "999999999a")]), lambda _: None, 1.0)
        pause = time.monotonic() + 20
        while agents() and time.monotonic() < pause:
            time.sleep(0.1)
        assert not agents()


def agents() -> list[str]:
    """Return the agents that run here."""
    command = ["ps", "-eo", "args"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "agent.py time" in line and "999999999a" in line]


@pytest.mark.parametrize("name", ["qemu:cortex-a53", "local"])
def test_where_nothing_can_be_timed_is_said_before_any_work(name: str) -> None:
    with pytest.raises((RequestError, MachineError)):
        remote.open_timing(name)


def test_two_models_are_compared_there_also_where_the_connection_is_lost_once(
    device: Device, tmp_path: Path
) -> None:
    there, path = device_of(device), model_in(tmp_path)
    device.cut_when, device.cut_after = "--warmup 3", 200
    rivals = arms.read(path, path, 1, there)
    terms = Terms(lambda groups, error: (judge(groups, error, Bars()), len(groups) >= 5), 40.0)
    run, verdict = Contest(rivals, terms, ground=There(there)).compare()
    assert verdict.processes == 5
    assert {len(side.wall) for pair in run.pairs for side in (pair.a, pair.b)} == {run.plan.rounds}
    assert run.machine["device"] == device.name
    assert run.before.load is not None
    assert record.encode(run)


def test_what_was_compared_is_kept_where_the_connection_is_lost_for_good(
    device: Device, tmp_path: Path
) -> None:
    def then(said: str) -> None:
        if said.startswith("5 processes"):
            device.cut_after, device.cuts = 0, 99  # whatever is asked of it from now on

    there, path, out = device_of(device), model_in(tmp_path), tmp_path / "kept.json"
    rivals = arms.read(path, path, 1, there)
    terms = Terms(lambda groups, error: (judge(groups, error, Bars()), False), 300.0)
    contest = Contest(rivals, terms, then, There(there))
    with pytest.raises(MachineError, match="after 5 processes") as caught:
        compare._measure(contest, out)
    assert caught.value.hint == f"edgepack compare --from {out}"
    run = record.load(out)
    assert (len(run.processes), run.after.load) == (5, None)
    looked = [command for command in device.commands if "loadavg" in command]
    assert len(looked) == 2  # when it was opened and when it began: then it was gone


def test_a_line_that_was_cut_off_is_not_heard() -> None:
    command, pipe = ["printf", r"M begin\nM a 12 34 0\nM a 12 3"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as child:
        talk = link._Talk(child, b"M", None)
        assert talk.next(20.0) == link.Said("a 12 34 0", b"")
        assert talk.next(20.0) is None


def test_options_are_tuned_there(device: Device, tmp_path: Path) -> None:
    there, levels = device_of(device), ("all",)
    one = subject.read(model_in(tmp_path), 1, {})
    found = tuning.tune(one, tuning.Search(4.0, levels, there), lambda _: None)
    assert found.rounds[0].keys() == tuning.candidates(one.options, there.cores, levels).keys()
    assert found.options == one.options or (found.verdict and found.verdict.decision == "faster")
    uploads = [name for name in device.commands if "agent.py time" in name]
    assert "--model 0.onnx" in uploads[0]
    assert "1.onnx" not in uploads[0]  # the same bytes travel once


def test_a_build_is_not_lost_with_the_device_that_it_is_tuned_on(device: Device) -> None:
    golden = Golden.of(SAMPLES, [Session(net()).run(sample) for sample in SAMPLES])
    model = ir.serde.deserialize_model(load_model_from_string(net()))
    candidate = Candidate("float32", model, net(), (), {}, lossy=False)
    device.cut_when, device.cut_after, device.cuts = "agent.py time", 60, 99
    settled, here = Settled(candidate, golden, {"y": 1e-4}, None), target.load("x86_64")
    found = tune(settled, here, [device.name], lambda _: None)
    assert (found.device, found.session) == (device.name, {})
    assert "the connection was lost" in found.sentence


def model_in(folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(net())
    return path


def device_of(device: Device) -> Timing:
    there = open_device(device.name)
    assert isinstance(there, Timing)
    return there


def refusal(name: str) -> EdgepackError:
    with pytest.raises(MachineError) as caught:
        open_device(name)
    return caught.value
