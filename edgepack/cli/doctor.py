"""``edgepack doctor``."""

import importlib.util
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from edgepack.base import units
from edgepack.cli import terminal

_EXTRAS = {"build": ("onnx", "onnx_ir", "onnxscript", "scipy"), "torch": ("torch",)}


def doctor(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    measure: Annotated[
        str | None, typer.Option(help="Time a model against itself for so long: 60s.")
    ] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show what works here, and what is missing.

    Each missing part comes with the line to type.

    Example: edgepack doctor
    """
    from edgepack import __version__

    if show_version:
        if json:
            terminal.show_json({"edgepack": __version__})
        else:
            terminal.say(f"edgepack {__version__}")
        return
    budget = None
    if measure is not None:
        budget = terminal.parse("--measure", measure, units.parse_duration, "60s")
    facts, missing = _facts(), _missing()
    tell = terminal.silence if quiet else terminal.progress
    noise = {} if budget is None else _noise(budget, tell)
    if json:
        terminal.show_json({"machine": facts, "missing": missing, "noise": noise})
        return
    terminal.table("", ("this machine", ""), list(facts.items()))
    rows = list(missing.items()) or [("nothing", "")]
    terminal.table("", ("missing", "to have it, type"), rows)
    if noise:
        terminal.table("", ("this machine can measure", ""), list(noise.items()))


def _noise(budget: float, tell: Callable[[str], None]) -> dict[str, str]:
    """Say what each way to time can tell here, and which is the best."""
    from edgepack.bench import noise

    found, said = noise.modes(budget, tell), {}
    for mode in found:
        if (verdict := mode.verdict) is None:
            said[mode.name] = f"not to be had: {mode.reason}"
            continue
        low, high = verdict.interval
        said[mode.name] = (
            f"finds {units.percent(verdict.smallest_effect)} or more nine times in ten; a model "
            f"against itself takes [{low:.4f}, {high:.4f}]"
        )
    top = noise.best(found)
    said["best mode"] = top.name if top else "none: give more time"
    return said


def _facts() -> dict[str, str]:
    from edgepack.bench import probe
    from edgepack.runtime import machine
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
        facts["u8 x s8 products"] = probe.products()
    return facts


def _missing() -> dict[str, str]:
    from edgepack.runtime import emulation, runners
    from edgepack.runtime.remote import link, refusals

    found = {}
    for extra, modules in _EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        if absent:
            found[f"{', '.join(absent)} (edgepack[{extra}])"] = f"pip install 'edgepack[{extra}]'"
    if shutil.which(link.client()[0]) is None:
        found["the ssh client, for devices over ssh"] = refusals.INSTALL
    try:
        version("onnxruntime")
    except PackageNotFoundError:  # what runs elsewhere is of its version, so it comes first
        return {**found, "onnxruntime": "pip install onnxruntime"}
    for arch in runners.ARCHITECTURES:
        found |= dict(runners.missing(arch))
    return found | dict(emulation.missing())
