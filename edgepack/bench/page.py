"""Measurements as one HTML page to look at: inline SVG, no script, nothing fetched.

Built as a tree of elements, so that text from outside (names of models) is always escaped.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgepack.base import units
from edgepack.bench.findings import Findings
from edgepack.bench.measured import Result
from edgepack.bench.percentile import Percentile
from edgepack.bench.record import Run
from edgepack.bench.summary import summarize

Floats: TypeAlias = npt.NDArray[np.float64]

_POINTS = 400
"""Of a curve; more would not be seen, and would make the page large."""

_WIDTH, _LEFT, _RIGHT = 640, 90, 20
_HEIGHT = 180

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
    _add(body, "p", f"A: {run.a.path}")
    _add(body, "p", f"B: {run.b.path}")
    _add(
        body,
        "p",
        f"Verdict on B: {verdict.decision}. "
        f"Ratio B / A {verdict.ratio:.4f}, interval [{low:.4f}, {high:.4f}].",
    )
    _add(
        body,
        "p",
        f"A slow-down of {units.percent(verdict.smallest_effect)} or more would have "
        "been called slower nine times in ten.",
    )
    _forest(body, run, (verdict.ratio, low, high))
    for doubt in found.doubts:
        _add(body, "p", f"Doubt: {doubt.cause}; {doubt.remedy}.")
    _table(body, "Machine", _machine(run.machine))
    return _encode(root)


def _measurement(body: ET.Element, result: Result) -> None:
    summary = summarize(result)
    _add(body, "h2", f"{result.model}, {result.scenario.name}, threads: {result.options.threads}")
    if not summary.valid:
        _add(body, "p", "INVALID: the machine changed too much while it measured.")
    for caution in summary.cautions:
        word = "Invalid" if caution.invalid else "Caution"
        _add(body, "p", f"{word}: {caution.cause}; {caution.remedy}.")
    rows = [
        (f"{clock} {name}", _percentile(value))
        for clock, found in (("latency", summary.latency), ("CPU", summary.cpu))
        for name, value in found.items()
    ]
    _table(body, f"{summary.number} samples", rows)
    if result.latency:
        _ecdf(body, np.asarray(result.latency))
        _strip(body, np.asarray(result.latency))
    _table(body, "Machine", _machine(result.machine))


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
    low, high = _span(values)
    svg = _svg(body, "Distribution of latency", "Part of the samples at or below a latency")
    _frame(svg, ("100 %", "0 %"), (units.duration(low), units.duration(high)))
    _line(svg, (values - low) / (high - low), ranks)


def _strip(body: ET.Element, seconds: Floats) -> None:
    """Draw samples in order; of many, the median and the greatest of each equal window."""
    parts = np.array_split(seconds, min(len(seconds), _POINTS))
    low, high = _span(seconds)
    text = "Samples in order; of many, the line is the median of a window, dots its greatest"
    svg = _svg(body, "Latency over time", text)
    _frame(svg, (units.duration(high), units.duration(low)), ("first", "last"))
    at = np.linspace(0, 1, len(parts))
    _line(svg, at, (np.array([np.median(part) for part in parts]) - low) / (high - low))
    for x, part in zip(at, parts, strict=True):
        _dot(svg, _x(float(x)), _y(float((part.max() - low) / (high - low))), 1.5)


def _forest(body: ET.Element, run: Run, total: tuple[float, float, float]) -> None:
    rows = [(f"process {i}", *_of(group)) for i, group in enumerate(run.log_ratios, 1)]
    rows.append(("all", *total))
    low, high = _span(np.array([1.0, *(x for row in rows for x in row[1:])]))
    text = "B's time over A's: dot, and line from least to greatest pair; in the last row, the "
    svg = _svg(body, "Ratios", f"{text}interval of the verdict; dashed: equal", 24 * len(rows) + 50)
    one = (1 - low) / (high - low)
    bottom = str(24 * len(rows) + 14)
    ET.SubElement(
        svg, "line", {"class": "one", "x1": _x(one), "x2": _x(one), "y1": "8", "y2": bottom}
    )
    for i, (name, *values) in enumerate(rows):
        y = str(24 * i + 20)
        _text(svg, name, "0", str(24 * i + 25))
        at = [_x((value - low) / (high - low)) for value in values]
        ET.SubElement(svg, "line", {"class": "curve", "x1": at[1], "x2": at[2], "y1": y, "y2": y})
        _dot(svg, at[0], y, 6 if name == "all" else 4)
    foot = str(24 * len(rows) + 38)
    _text(svg, f"{low:.4f}", str(_LEFT), foot)
    _text(svg, f"{high:.4f}", str(_WIDTH - _RIGHT), foot, "end")


def _of(group: Sequence[float]) -> tuple[float, float, float]:
    values = np.exp(np.array([np.mean(group), min(group), max(group)]))
    return float(values[0]), float(values[1]), float(values[2])


def _span(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + max(abs(low), 1e-9) * 1e-3)


def _x(part: float) -> str:
    return f"{_LEFT + part * (_WIDTH - _LEFT - _RIGHT):.1f}"


def _y(part: float) -> str:
    return f"{10 + (1 - part) * (_HEIGHT - 40):.1f}"


def _line(svg: ET.Element, xs: Floats, ys: Floats) -> None:
    points = " ".join(f"{_x(float(x))},{_y(float(y))}" for x, y in zip(xs, ys, strict=True))
    ET.SubElement(svg, "polyline", {"class": "curve", "points": points})


def _dot(svg: ET.Element, x: str, y: str, radius: float) -> None:
    ET.SubElement(svg, "circle", {"class": "dot", "cx": x, "cy": y, "r": str(radius)})


def _frame(svg: ET.Element, up: tuple[str, str], along: tuple[str, str]) -> None:
    """Draw both axes, with the text of their ends."""
    corner = f"{_x(0)},{_y(1)} {_x(0)},{_y(0)} {_x(1)},{_y(0)}"
    ET.SubElement(svg, "polyline", {"class": "axis", "points": corner})
    _text(svg, up[0], str(_LEFT - 8), "18", "end")
    _text(svg, up[1], str(_LEFT - 8), _y(0), "end")
    _text(svg, along[0], str(_LEFT), str(_HEIGHT - 8))
    _text(svg, along[1], str(_WIDTH - _RIGHT), str(_HEIGHT - 8), "end")


def _text(svg: ET.Element, text: str, x: str, y: str, anchor: str = "start") -> None:
    ET.SubElement(svg, "text", {"x": x, "y": y, "text-anchor": anchor}).text = text


def _svg(body: ET.Element, title: str, text: str, height: int = _HEIGHT) -> ET.Element:
    _add(body, "h3", title)
    _add(body, "p", f"{text}.")
    svg = ET.SubElement(body, "svg", {"viewBox": f"0 0 {_WIDTH} {height}", "role": "img"})
    _add(svg, "title", title)
    _add(svg, "desc", text)
    return svg


def _table(body: ET.Element, caption: str, rows: Sequence[tuple[str, str]]) -> None:
    _add(body, "h3", caption)
    table = ET.SubElement(body, "table")
    for name, value in rows:
        row = ET.SubElement(table, "tr")
        _add(row, "th", name).set("scope", "row")
        _add(row, "td", value)


def _page(title: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("html", {"lang": "en"})
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    size = "width=device-width, initial-scale=1"
    ET.SubElement(head, "meta", {"name": "viewport", "content": size})
    _add(head, "title", title)
    _add(head, "style", _STYLE)
    body = ET.SubElement(root, "body")
    _add(body, "h1", title)
    return root, body


def _add(parent: ET.Element, tag: str, text: str) -> ET.Element:
    child = ET.SubElement(parent, tag)
    child.text = text
    return child


def _encode(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8", method="html")
    return b"<!DOCTYPE html>\n" + text + b"\n"
