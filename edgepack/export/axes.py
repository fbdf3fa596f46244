"""Which axes of a model are dynamic, and what they are called."""

from collections.abc import Mapping, Sequence

import torch

from edgepack.base.errors import RequestError, nearest
from edgepack.export.cases import Case
from edgepack.export.interface import Axes, Interface

Dynamic = Mapping[str, Sequence[str | None]]


def requested(interface: Interface, dynamic: Dynamic) -> tuple[Axes, ...]:
    """Return the named axes of each input, checked against the example.

    Args:
        interface: Its example has the sizes.
        dynamic: Input -> a name per leading axis; None or "" where the axis is fixed.

    Raises:
        RequestError: An input is unknown, has fewer axes, or one name stands for two sizes.
    """
    for name in dynamic:
        if name not in interface.names:
            hint = nearest(name, interface.names)
            raise RequestError("E-DYNAMIC", f"the module has no input {name!r}", hint=hint)
    found: list[Axes] = []
    sizes: dict[str, int] = {}
    for name, tensor in zip(interface.names, interface.example, strict=True):
        named = {axis: text for axis, text in enumerate(dynamic.get(name, ())) if text}
        if any(axis >= tensor.dim() for axis in named):
            raise RequestError(
                "E-DYNAMIC", f"input {name!r} has {tensor.dim()} axes, fewer than names given"
            )
        for axis, text in named.items():
            if sizes.setdefault(text, tensor.shape[axis]) != tensor.shape[axis]:
                raise RequestError("E-DYNAMIC", f"dimension {text!r} has two sizes in the example")
        found.append(named)
    return tuple(found)


def declared(program: torch.export.ExportedProgram) -> tuple[Axes, ...]:
    """Return the axes that a program left dynamic: ``batch`` where it is first, else ``dim_1``.

    Sizes that are not free but follow from others (``2*s0``) are left out: they cannot be varied
    alone.
    """
    inputs = set(program.graph_signature.user_inputs)
    names: dict[str, str] = {}
    found: list[Axes] = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op != "placeholder" or node.name not in inputs or not hasattr(value, "shape"):
            continue
        free = {
            axis: str(size.node.expr)
            for axis, size in enumerate(value.shape)
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol
        }
        for axis, symbol in free.items():
            name = "batch" if axis == 0 and "batch" not in names.values() else f"dim_{len(names)}"
            names.setdefault(symbol, name)
        found.append({axis: names[symbol] for axis, symbol in free.items()})
    return tuple(found)


def followed(cases: Sequence[Case]) -> tuple[Axes, ...]:
    """Name the axes of outputs that follow a dynamic size, as torch's own answers show."""
    first = tuple(cases[0].expected.values())
    found: list[dict[int, str]] = [{} for _ in first]
    for case in cases:
        for name, size in case.sizes.items():
            for index, (before, after) in enumerate(
                zip(first, case.expected.values(), strict=True)
            ):
                for axis, (old, new) in enumerate(zip(before.shape, after.shape, strict=False)):
                    if old != new:
                        found[index].setdefault(
                            axis, name if new == size else f"dim_{index}_{axis}"
                        )
    return tuple(found)
