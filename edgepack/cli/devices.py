"""``edgepack devices``."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.base.errors import MachineError, RequestError, nearest
from edgepack.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[str, str, str]
"""The device, ``ready`` or ``missing``, and what it needs or is."""

_PREPARED = ("qemu", "ssh")


def devices(
    action: Annotated[
        str | None, typer.Argument(help="prepare, or ssh://[user@]host to look at.")
    ] = None,
    device: Annotated[str, typer.Argument(help="What to prepare: qemu, ssh.")] = "qemu",
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show devices and what they need, look at one, or prepare them.

    `prepare qemu` fetches and builds what emulated arm64 needs, `prepare ssh` what travels to
    devices without Python.

    Example: edgepack devices prepare qemu
    """
    if action is not None and action.startswith("ssh:"):
        _look(action, json=json)
        return
    if action not in {None, "prepare"}:
        raise RequestError(
            "E-USAGE", f"no action {action!r}", hint=nearest(str(action), ["prepare"])
        )
    if device not in _PREPARED:
        raise RequestError(
            "E-USAGE", f"{device!r} needs no preparation", hint="prepare qemu, or prepare ssh"
        )
    if action == "prepare":
        for sentence in _prepare(device):
            (terminal.silence if quiet else terminal.progress)(sentence)
    _list(json=json)


def _list(*, json: bool) -> None:
    from edgepack.runtime import emulated_cpus, emulation

    missing = emulation.missing()
    names = ["local", *(f"qemu:{cpu}" for cpu in emulated_cpus.CPUS)]
    rows = [("local", "ready", "this machine"), *_ssh()]
    if json:
        terminal.show_json(
            {
                "devices": names,
                "missing": [list(item) for item in missing],
                "ssh": [
                    {"device": name, "state": state, "needs": it} for name, state, it in rows[1:]
                ],
            }
        )
        return
    state = "missing" if missing else "ready"
    rows += [(name, state, "; ".join(command for _, command in missing)) for name in names[1:]]
    terminal.table("", ("device", "", "what it needs"), rows)


def _prepare(device: str) -> "Iterator[str]":
    """Prepare, and pass over an architecture that has no compiler here, unless none has."""
    from edgepack.runtime import emulation, runners

    if device == "qemu":
        yield from emulation.prepare()
        return
    failed: list[MachineError] = []
    for arch in runners.ARCHITECTURES:
        try:
            yield from runners.prepare(arch)
        except MachineError as error:
            failed.append(error)
            yield f"not for {arch}: {error}; {error.hint}"
    if len(failed) == len(runners.ARCHITECTURES):
        raise failed[0]


def _ssh() -> list[Row]:
    """Say what devices over ssh need, with Python there and without."""
    import shutil

    from edgepack.runtime import runners
    from edgepack.runtime.remote import link, refusals

    name = "ssh://[user@]host[:port]"
    if shutil.which(link.client()[0]) is None:
        return [(name, "missing", refusals.INSTALL)]
    rows = [(name, "ready", "there: Linux, tar, Python with onnxruntime")]
    for arch in runners.ARCHITECTURES:
        gaps = runners.missing(arch)
        needs = "; ".join(command for _, command in gaps)
        about = f"there: {arch} Linux, tar, libstdc++, no Python"
        rows.append((name, "missing" if gaps else "ready", needs or about))
    return rows


def _look(name: str, *, json: bool) -> None:
    """Connect to a device over ssh, and say what it is and stands for."""
    from edgepack import devices as known
    from edgepack.devices.ssh import Ssh
    from edgepack.spec import target
    from edgepack.spec.manifest import runtime_of

    there = known.open_device(name)
    assert isinstance(there, Ssh)
    runtimes = {each: runtime_of(target.load(each)) for each in target.names()}
    facts = {
        "device": there.name,
        "architecture": there.arch,
        "cores": there.cores,
        "features": sorted(there.features),
        "onnxruntime": there.runtime,
        "runs models with": there.facts.python or "the runner that travels there",
        "is a device of": [k for k, runtime in runtimes.items() if not known.lacks(there, runtime)],
    }
    if json:
        terminal.show_json(facts)
        return
    rows = [(k, " ".join(v) if isinstance(v, list) else str(v)) for k, v in facts.items()]
    terminal.table("", ("", ""), rows)
