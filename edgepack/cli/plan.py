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
    tune: Annotated[bool, typer.Option("--tune", help="As of build.")] = False,
    json: terminal.JsonOption = False,
    quiet: terminal.QuietOption = False,  # noqa: ARG001 - there is no progress to silence
    debug: terminal.DebugOption = False,  # noqa: ARG001 - main looks at it
) -> None:
    """Show what build would do, and why not.

    Touches no model.

    Example: edgepack plan -t arm64 -t cuda
    """
    from edgepack.gate.tuned import where
    from edgepack.intake.check import plans_for, tunes
    from edgepack.intake.request import Request
    from edgepack.plan import Bound
    from edgepack.spec.step import Skip, Step

    request = Request(model=model, targets=tuple(target or ()), recipe=recipe, tune=tune)
    found = []
    for item in plans_for(request):
        steps = [*item.compress, *item.graph]
        if tunes(request):
            nowhere = where(item.target).nowhere
            steps.append(Bound("tune", Skip("tune", nowhere) if nowhere else Step()))
        found.append((item, steps))
    if json:
        terminal.show_json(
            {
                item.target.name: [{"use": bound.use, **_as_data(bound.step)} for bound in steps]
                for item, steps in found
            }
        )
        return
    for item, steps in found:
        rows = [(bound.use, *_row(bound.step)) for bound in steps]
        terminal.table(f"{item.recipe.name} on {item.target.name}", ("step", "", ""), rows)


def _row(step: msgspec.Struct) -> tuple[str, str]:
    from edgepack.spec.step import Skip

    return ("skip", step.reason) if isinstance(step, Skip) else ("run", _fields(step))


def _as_data(step: msgspec.Struct) -> dict[str, object]:
    from edgepack.spec.step import Skip

    if isinstance(step, Skip):
        return {"skipped": step.reason}
    return {"parameters": msgspec.to_builtins(step)}


def _fields(step: msgspec.Struct) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in msgspec.structs.asdict(step).items())
