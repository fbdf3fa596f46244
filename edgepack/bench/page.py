"""Measurements as one HTML page to look at: inline SVG, no script, nothing fetched.

Built as a tree of elements, so that text from outside (names of models) is always escaped.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepack.base import units
from edgepack.bench import drawing as draw
from edgepack.bench import operators
from edgepack.bench.drawing import Floats
from edgepack.bench.findings import Findings
from edgepack.bench.measured import Result
from edgepack.bench.percentile import Percentile
from edgepack.bench.record import Run
from edgepack.bench.summary import summarize

_BARS = 12
"""Types of operators with a bar of their own."""

_NAMES = 230
"""Width of their names."""

_POINTS = 400
"""Of a curve; more would not be seen, and would make the page large."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #767676; --mark: #0b57a4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #161616; --line: #8c8c8c; --mark: #7db7ff } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 44rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere }
table { border-collapse: collapse }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
th { white-space: nowrap }
svg { width: 100%; height: auto } text { fill: var(--ink); font-size: 14px }
.axis { stroke: var(--line); fill: none } .one { stroke: var(--line); stroke-dasharray: 4 4 }
.curve { stroke: var(--mark); stroke-width: 2; fill: none } .dot { fill: var(--mark) }
.bar { stroke: var(--mark); stroke-width: 14 }
"""


def measurements(results: Sequence[Result]) -> bytes:
    """Return the page of what ``bench`` measured."""
    root, body = _page("Latency")
    for each in results:
        _measurement(body, each)
    return _encode(root)


def comparison(run: Run, found: Findings) -> bytes:
    """Return the page of what ``compare`` found: an row per process, then that of all."""
    root, body = _page("Comparison of latency")
    verdict = found.verdict
    low, high = verdict.interval
    draw.add(body, "p", f"A: {run.a.path}")
    draw.add(body, "p", f"B: {run.b.path}")
    draw.add(
        body,
        "p",
        f"Verdict on B: {verdict.decision}. "
        f"Ratio B / A {verdict.ratio:.4f}, interval [{low:.4f}, {high:.4f}].",
    )
    draw.add(
        body,
        "p",
        f"A slow-down of {units.percent(verdict.smallest_effect)} or more would have "
        "been called slower nine times in ten.",
    )
    _forest(body, run, (verdict.ratio, low, high))
    for doubt in found.doubts:
        draw.add(body, "p", f"Doubt: {doubt.cause}; {doubt.remedy}.")
    draw.table(body, "Machine", _machine(run.machine))
    return _encode(root)


def _measurement(body: ET.Element, result: Result) -> None:
    summary = summarize(result)
    draw.add(
        body, "h2", f"{result.model}, {result.scenario.name}, threads: {result.options.threads}"
    )
    if not summary.valid:
        draw.add(body, "p", "INVALID: the machine changed too much while it measured.")
    for caution in summary.cautions:
        word = "Invalid" if caution.invalid else "Caution"
        draw.add(body, "p", f"{word}: {caution.cause}; {caution.remedy}.")
    rows = [
        (f"{clock} {name}", _percentile(value))
        for clock, found in (("latency", summary.latency), ("CPU", summary.cpu))
        for name, value in found.items()
    ]
    draw.table(body, f"{summary.number} samples", rows)
    if result.latency:
        _ecdf(body, np.asarray(result.latency))
        _strip(body, np.asarray(result.latency))
    if result.operators:
        _bars(body, operators.by_type(result.operators))
    draw.table(body, "Machine", _machine(result.machine))


def _bars(body: ET.Element, rows: Sequence[tuple[str, int, float]]) -> None:
    """Draw a bar per type of operator, the longest first; those beyond the first share one."""
    total = sum(seconds for _, _, seconds in rows) or 1.0
    shown = [(f"{op} x {count}", seconds) for op, count, seconds in rows[:_BARS]]
    if rest := sum(seconds for _, _, seconds in rows[_BARS:]):
        shown.append((f"{len(rows) - _BARS} others", rest))
    said = "Share of the time in operators, under the runtime's profiler, a pass of its own"
    svg = draw.picture(body, "Operators", said, 24 * len(shown) + 16)
    left = _NAMES / draw.WIDTH
    for i, (name, seconds) in enumerate(shown):
        part, y = seconds / total, str(24 * i + 20)
        draw.words(svg, name, "0", str(24 * i + 25))
        start, end = (f"{draw.WIDTH * (left + (0.85 - left) * each):.1f}" for each in (0, part))
        bar = {"class": "bar", "x1": start, "x2": end, "y1": y, "y2": y}
        ET.SubElement(svg, "line", bar)
        label = f"{units.percent(part)}, {units.duration(seconds)}"
        draw.words(svg, label, str(float(end) + 6), str(24 * i + 25))


def _machine(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lists = (list, tuple)
    return [
        (key, " ".join(map(str, value)) if isinstance(value, lists) else str(value))
        for key, value in facts.items()
    ]


def _percentile(found: Percentile | None) -> str:
    if found is None:
        return "n/a: too few samples"
    bound = units.duration(found.bound)
    return f"{units.duration(found.value)}, at most {bound} with 99 % confidence"


def _ecdf(body: ET.Element, seconds: Floats) -> None:
    """Draw quantiles, evenly spaced in rank, the least and the greatest included."""
    ranks = np.linspace(0, 1, min(len(seconds), _POINTS))
    values = np.quantile(seconds, ranks)
    low, high = draw.span(values)
    svg = draw.picture(body, "Distribution of latency", "Part of the samples at or below a latency")
    draw.frame(svg, ("100 %", "0 %"), (units.duration(low), units.duration(high)))
    draw.curve(svg, (values - low) / (high - low), ranks)


def _strip(body: ET.Element, seconds: Floats) -> None:
    """Draw samples in order; of many, the median and the greatest of each equal window."""
    parts = np.array_split(seconds, min(len(seconds), _POINTS))
    low, high = draw.span(seconds)
    text = "Samples in order; of many, the line is the median of a window, dots its greatest"
    svg = draw.picture(body, "Latency over time", text)
    draw.frame(svg, (units.duration(high), units.duration(low)), ("first", "last"))
    at = np.linspace(0, 1, len(parts))
    draw.curve(svg, at, (np.array([np.median(part) for part in parts]) - low) / (high - low))
    for x, part in zip(at, parts, strict=True):
        draw.dot(svg, draw.across(float(x)), draw.up(float((part.max() - low) / (high - low))), 1.5)


def _forest(body: ET.Element, run: Run, total: tuple[float, float, float]) -> None:
    rows = [(f"process {i}", *_of(group)) for i, group in enumerate(run.log_ratios, 1)]
    rows.append(("all", *total))
    low, high = draw.span(np.array([1.0, *(x for row in rows for x in row[1:])]))
    text = "B's time over A's: dot, and line from least to greatest pair; in the last row, the "
    svg = draw.picture(
        body, "Ratios", f"{text}interval of the verdict; dashed: equal", 24 * len(rows) + 50
    )
    one = (1 - low) / (high - low)
    bottom = str(24 * len(rows) + 14)
    ET.SubElement(
        svg,
        "line",
        {"class": "one", "x1": draw.across(one), "x2": draw.across(one), "y1": "8", "y2": bottom},
    )
    for i, (name, *values) in enumerate(rows):
        y = str(24 * i + 20)
        draw.words(svg, name, "0", str(24 * i + 25))
        at = [draw.across((value - low) / (high - low)) for value in values]
        ET.SubElement(svg, "line", {"class": "curve", "x1": at[1], "x2": at[2], "y1": y, "y2": y})
        draw.dot(svg, at[0], y, 6 if name == "all" else 4)
    foot = str(24 * len(rows) + 38)
    draw.words(svg, f"{low:.4f}", str(draw.LEFT), foot)
    draw.words(svg, f"{high:.4f}", str(draw.WIDTH - draw.RIGHT), foot, "end")


def _of(group: Sequence[float]) -> tuple[float, float, float]:
    values = np.exp(np.array([np.mean(group), min(group), max(group)]))
    return float(values[0]), float(values[1]), float(values[2])


def _page(title: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("html", {"lang": "en"})
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    size = "width=device-width, initial-scale=1"
    ET.SubElement(head, "meta", {"name": "viewport", "content": size})
    draw.add(head, "title", title)
    draw.add(head, "style", _STYLE)
    body = ET.SubElement(root, "body")
    draw.add(body, "h1", title)
    return root, body


def _encode(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + text + b"\n"
