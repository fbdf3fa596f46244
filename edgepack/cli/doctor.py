"""``edgepack doctor``."""

import importlib.util
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from edgepack.cli import terminal

_EXTRAS = {"build": ("onnx", "onnx_ir", "onnxscript", "scipy"), "torch": ("torch",)}


def doctor(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show what works here, and what is missing.

    Each missing part comes with the line to type.

    Example: edgepack doctor
    """
    from edgepack import __version__

    if show_version:
        terminal.say(f"edgepack {__version__}")
        return
    facts, missing = _facts(), _missing()
    if json:
        terminal.show_json({"machine": facts, "missing": missing})
        return
    terminal.table("", ("this machine", ""), list(facts.items()))
    rows = list(missing.items()) or [("nothing", "")]
    terminal.table("", ("missing", "to have it, type"), rows)


def _facts() -> dict[str, str]:
    from edgepack.runtime import machine, saturation
    from edgepack.spec import target
    from edgepack.spec.manifest import runtime_of

    here = machine.here()
    kinds = [name for name in target.names() if not machine.missing(runtime_of(target.load(name)))]
    facts = {
        "edgepack": version("edgepack"),
        "python": platform.python_version(),
        "onnxruntime": here.onnxruntime or "not installed",
        "architecture": here.arch,
        "usable cores": str(here.cores),
        "libc": here.libc or "unknown",
        "is a device of": ", ".join(kinds) or "no target",
    }
    if here.onnxruntime:
        saturates = saturation.saturates()
        facts["u8 x s8 products"] = "saturate in default mode" if saturates else "exact"
    return facts


def _missing() -> dict[str, str]:
    from edgepack.runtime import emulation
    from edgepack.runtime.remote import link, refusals

    found = {}
    for extra, modules in _EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        if absent:
            found[f"{', '.join(absent)} (edgepack[{extra}])"] = f"pip install 'edgepack[{extra}]'"
    try:
        version("onnxruntime")
    except PackageNotFoundError:
        found["onnxruntime"] = "pip install onnxruntime"
    if shutil.which(link.client()[0]) is None:
        found["the ssh client, for devices over ssh"] = refusals.INSTALL
    found |= dict(emulation.missing())
    return found
