"""The records of a build as rows for a person."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgepack.base import units
from edgepack.report.built import Built
from edgepack.spec.manifest import Manifest
from edgepack.spec.preprocess import Image, Rule, Text

Row = tuple[str, ...]


def build_rows(item: Built) -> Iterator[Row]:
    """Yield one row per fact of a bundle."""
    yield from manifest_rows(item.manifest)
    yield "speed", item.speed
    if item.tuned:
        yield "tuning", item.tuned
    if item.advice:
        yield "hint", item.advice
    yield "bundle", str(item.path)
    yield "sha256", item.sha256[:16]


def manifest_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield what the manifest says of size, precision, accuracy, cost and execution."""
    size = manifest.size
    share = units.percent(size.model_bytes / size.float_bytes, 0)
    yield "size", f"{units.size(size.float_bytes)} -> {units.size(size.model_bytes)} ({share})"
    yield "precision", precision(manifest)
    yield "accuracy", accuracy(manifest)
    yield "closeness to float", fidelity(manifest)
    yield "estimated cost", cost(manifest)
    yield "executed", executed(manifest)
    if chosen := session(manifest):
        yield "session options", chosen


def preprocess(rule: Rule | None) -> str:
    """Return how raw input becomes a sample, in one line."""
    if rule is None:
        return "not declared: apps take samples as the model does"
    if isinstance(rule, Image):
        height, width = rule.size
        how = "no other size" if rule.resize == "none" else f"resized by {rule.resize}"
        numbers = f"scale {rule.scale:.4g}, mean {_plain(rule.mean)}, std {_plain(rule.std)}"
        return f"image, {width}x{height} {rule.channels} {rule.layout}, {how}, {numbers}"
    if isinstance(rule, Text):
        mask = f" and {rule.mask}" if rule.mask else ""
        return (
            f"text, {rule.split} of {rule.vocabulary}, {rule.length} tokens to {rule.input}{mask}"
        )
    return f"audio, {rule.rate} Hz, frames of {rule.frame}, {rule.step} new, scale {rule.scale:.4g}"


def _plain(numbers: tuple[float, ...]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


def precision(manifest: Manifest) -> str:
    """Return ``int8 52, float32 1``: nodes per precision."""
    totals: dict[str, int] = {}
    for counts in manifest.precision.operators.values():
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number
    listed = ", ".join(f"{name} {number}" for name, number in sorted(totals.items()))
    return f"{listed} nodes" if listed else "no nodes"


def accuracy(manifest: Manifest) -> str:
    """Return the metric before and after, with n and the interval of the drop."""
    found = manifest.accuracy
    if found is None:
        return "no labels"
    low, high = found.interval
    shown = "" if found.shown else ", limit not shown"
    return (
        f"{found.metric} {found.float_:.4f} -> {found.shipped:.4f} (n {found.n}; "
        f"drop {found.drop:+.4f} [{low:+.4f}, {high:+.4f}]{shown})"
    )


def fidelity(manifest: Manifest) -> str:
    """Return agreement, cosine and noise against the float model."""
    near = manifest.fidelity
    parts = [] if near.agreement is None else [f"same decision {units.percent(near.agreement)}"]
    parts.append(f"cosine {near.cosine:.5f}")
    parts.append("no difference" if near.sqnr_db is None else f"{near.sqnr_db:.1f} dB")
    return f"{', '.join(parts)} (n {near.n})"


def cost(manifest: Manifest) -> str:
    """Return emulated instructions per inference; never a time."""
    if not manifest.cost:
        return "not counted"
    return "; ".join(
        f"{item.device.partition(':')[2]} {units.count(item.float_instructions)} -> "
        f"{units.count(item.shipped_instructions)} instructions"
        + (", more than float" if item.shipped_instructions > item.float_instructions else "")
        for item in manifest.cost
    )


def executed(manifest: Manifest) -> str:
    """Return what ran on the target's own kernels."""
    parts = []
    for item in manifest.executed:
        if item.note:
            parts.append(item.note)
            continue
        agreed = (
            "" if item.agreement is None else f", same decision {units.percent(item.agreement)}"
        )
        parts.append(
            f"{item.device}: {item.golden} golden and {item.evaluated} evaluation samples{agreed}"
        )
    return "; ".join(parts)


def session(manifest: Manifest) -> str:
    """Return the session options that differ from those of other bundles, or nothing."""
    plain: dict[str, int | str] = {"graph_optimization_level": "all", "intra_op_num_threads": 0}
    chosen = {k: v for k, v in manifest.runtime.session.items() if plain.get(k) != v}
    return ", ".join(f"{key}={value}" for key, value in sorted(chosen.items()))


def shell(path: Path) -> str:
    """Quote a path for a shell."""
    return shlex.quote(str(path))


def next_command(item: Built) -> str:
    """Return the command to try next: the self-test where the build ran it, else a look inside."""
    devices = [entry.device for entry in item.manifest.executed if not entry.note]
    if not devices:
        return f"edgepack inspect {shell(item.path)}"
    on = "" if devices[0] == "local" else f" --on {devices[0]}"
    return f"edgepack verify {shell(item.path)}{on}"


def built_as_data(item: Built) -> dict[str, Any]:
    """Return one bundle for ``--json``."""
    return {
        "path": str(item.path),
        "report": str(item.report),
        "sha256": item.sha256,
        "bytes": item.bytes,
        "sentences": list(item.sentences),
        "manifest": msgspec.to_builtins(item.manifest),
    }
