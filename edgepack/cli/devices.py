"""``edgepack devices``."""

from typing import Annotated

import typer

from edgepack.base.errors import RequestError, nearest
from edgepack.cli import terminal


def devices(
    action: Annotated[str | None, typer.Argument(help="prepare")] = None,
    device: Annotated[str, typer.Argument(help="What to prepare.")] = "qemu",
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show devices, or prepare one.

    `prepare qemu` fetches and builds what emulated arm64 needs.

    Example: edgepack devices prepare qemu
    """
    from edgepack.runtime import emulated_cpus, emulation

    if action not in {None, "prepare"}:
        raise RequestError(
            "E-USAGE", f"no action {action!r}", hint=nearest(str(action), ["prepare"])
        )
    if device != "qemu":
        raise RequestError("E-USAGE", f"{device!r} needs no preparation", hint="prepare qemu")
    if action == "prepare":
        for sentence in emulation.prepare():
            (terminal.silence if quiet else terminal.progress)(sentence)
    missing = emulation.missing()
    names = ["local", *(f"qemu:{cpu}" for cpu in emulated_cpus.CPUS)]
    if json:
        terminal.show_json({"devices": names, "missing": [list(item) for item in missing]})
        return
    rows = [("local", "ready", "this machine"), _ssh()]
    state = "missing" if missing else "ready"
    rows += [(name, state, "; ".join(command for _, command in missing)) for name in names[1:]]
    terminal.table("", ("device", "", "what it needs"), rows)


def _ssh() -> tuple[str, str, str]:
    import shutil

    from edgepack.runtime.remote import link, refusals

    ready = shutil.which(link.client()[0]) is not None
    needs = "there: Linux, tar, Python with onnxruntime" if ready else refusals.INSTALL
    return "ssh://[user@]host[:port]", "ready" if ready else "missing", needs
