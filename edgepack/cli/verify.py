"""``edgepack verify``."""

from pathlib import Path
from typing import Annotated

import typer

from edgepack.cli import terminal


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    key: Annotated[
        Path | None, typer.Option(help="A public Ed25519 key, PEM: the bundle must be signed.")
    ] = None,
    on: Annotated[list[str] | None, typer.Option(help="A device; repeat for several.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Check the signature where a key is given, check digests, and run the self-test.

    Here, or on a device with --on.

    Example: edgepack verify dist/digits-arm64.edgepack --on qemu:cortex-a53
    """
    from edgepack.bench.selftest import selftest
    from edgepack.bundle.open import open_bundle

    opened = open_bundle(bundle, key)
    tell = terminal.silence if quiet else terminal.progress
    if key is not None:
        tell(f"{bundle}: signed with the key of {key}")
    tell(f"{bundle}: {len(opened.manifest.files)} members, every digest holds")
    results = {}
    for device in on or ["local"]:
        tell(f"golden self-test on {device}")
        results[device] = selftest(opened, device)
    if json:
        signed = None if key is None else True  # without a key there is nothing to say
        terminal.show_json({"sha256": opened.sha256, "signed": signed, "golden": results})
        return
    rows = [
        (device, name, f"{result.largest[name]:.3g}", f"{far:.3g}", str(result.n))
        for device, result in results.items()
        for name, far in result.tolerance.items()
    ]
    head = ("device", "output", "largest difference", "tolerance", "samples")
    terminal.table("the golden self-test passes", head, rows)
    if key is not None:
        terminal.say(f"signed with the key of {key}")
    terminal.say(f"sha256 {opened.sha256}")
