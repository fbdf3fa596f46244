"""Devices by name, and what is said when one cannot be used."""

import zipfile
from pathlib import Path

import pytest

from edgepack.base import registry
from edgepack.base.errors import MachineError, RequestError, SafetyError
from edgepack.devices import open_device
from edgepack.runtime import emulated_cpus, emulation

LIBRARY = "onnxruntime/capi/libonnxruntime.so.1.32.0"


def test_the_folder_lists_devices_and_nothing_else() -> None:
    assert {"local", "qemu"} <= set(registry.names("devices"))
    for name in registry.names("devices"):
        assert registry.find("devices", name).__name__ == registry.class_name(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lokal", "did you mean 'local'?"),
        ("local:here", "type 'local'"),
        ("qemu:cortex-a54", "did you mean 'cortex-a53'?"),
        ("qemu:", "known: armv8.6-i8mm, cortex-a53"),
    ],
)
def test_an_unknown_device_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        open_device(name)
    assert hint in caught.value.hint


def test_parts_that_are_missing_give_the_command_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        open_device("qemu:cortex-a53")
    assert caught.value.code == "E-QEMU"
    assert caught.value.hint.startswith(("edgepack devices prepare qemu", "apt-get install qemu"))


def test_without_qemu_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        list(emulation.prepare(tmp_path))
    assert caught.value.hint.startswith("apt-get install qemu-user gcc-aarch64-linux-gnu")
    assert not list(tmp_path.iterdir())


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("EDGEPACK_CACHE", raising=False)
    assert emulation.default_cache() == Path("/x/edgepack")
    monkeypatch.setenv("EDGEPACK_CACHE", "/y")
    assert emulation.default_cache() == Path("/y")


def test_the_library_is_read_from_a_wheel(tmp_path: Path) -> None:
    assert emulation.library_in_wheel(wheel(tmp_path, [LIBRARY, "other"])) == b"ELF"


@pytest.mark.parametrize(
    "members", [[], ["../" + LIBRARY], [LIBRARY, LIBRARY + ".1"], [LIBRARY + "/x"]]
)
def test_a_wheel_without_exactly_one_library_is_refused(tmp_path: Path, members: list[str]) -> None:
    with pytest.raises(SafetyError, match="does not hold one libonnxruntime"):
        emulation.library_in_wheel(wheel(tmp_path, members))


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, [LIBRARY])
    data = bytearray(path.read_bytes())
    data[data.index(b"ELF")] ^= 1
    path.write_bytes(data)
    with pytest.raises(SafetyError, match="damaged"):
        emulation.library_in_wheel(path)
    path.write_bytes(data[:40])
    with pytest.raises(SafetyError, match="damaged"):
        emulation.library_in_wheel(path)


@pytest.mark.parametrize("name", emulated_cpus.CPUS)
def test_a_sysroot_hides_the_host(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    emulated_cpus.write_sysroot(root, emulated_cpus.CPUS[name], Path("../../ort"))
    text = (root / "proc/cpuinfo").read_text()
    assert f"Features\t: {emulated_cpus.CPUS[name].features}\n" in text
    assert not list((root / "sys/bus/pci/devices").iterdir())


def wheel(folder: Path, members: list[str]) -> Path:
    """Write a wheel whose members all hold the same three bytes."""
    path = folder / "onnxruntime-1.32.0.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, b"ELF")
    return path


def test_a_cache_that_cannot_be_looked_into_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPACK_CACHE", "x" * 300)
    assert "edgepack devices prepare qemu" in [command for _, command in emulation.missing()]
    with pytest.raises(MachineError):
        emulation.find()
    with pytest.raises(MachineError):
        list(emulation.prepare())
