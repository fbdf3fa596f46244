"""``edgepack plan``."""

from typing import Annotated

import msgspec
import typer

from edgepack.cli import terminal


def plan(
    model: Annotated[str | None, typer.Argument(help="Named for completeness; not read.")] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="A target; repeat for several.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe, or a file.")] = None,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show what build would do, and why not.

    Touches no model.

    Example: edgepack plan -t arm64 -t cuda
    """
    from edgepack.intake.check import plans_for
    from edgepack.intake.request import Request
    from edgepack.spec.step import Skip

    found = plans_for(Request(model=model, targets=tuple(target or ()), recipe=recipe))
    if json:
        terminal.show_json(
            {
                item.target.name: [
                    {"use": bound.use, **_as_data(bound.step)}
                    for bound in (*item.compress, *item.graph)
                ]
                for item in found
            }
        )
        return
    for item in found:
        rows = [
            (bound.use, "skip", bound.step.reason)
            if isinstance(bound.step, Skip)
            else (bound.use, "run", _fields(bound.step))
            for bound in (*item.compress, *item.graph)
        ]
        terminal.table(f"{item.recipe.name} on {item.target.name}", ("step", "", ""), rows)


def _as_data(step: msgspec.Struct) -> dict[str, object]:
    from edgepack.spec.step import Skip

    if isinstance(step, Skip):
        return {"skipped": step.reason}
    return {"parameters": msgspec.to_builtins(step)}


def _fields(step: msgspec.Struct) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in msgspec.structs.asdict(step).items())
