"""Pictures as inline SVG: the axes, curves, dots and words that a page is made of."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

WIDTH, LEFT, RIGHT = 640, 90, 20
HEIGHT = 180


def span(values: Floats) -> tuple[float, float]:
    """Return least and greatest, apart from each other."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + max(abs(low), 1e-9) * 1e-3)


def across(part: float) -> str:
    """Return where a part of the width lies."""
    return f"{LEFT + part * (WIDTH - LEFT - RIGHT):.1f}"


def up(part: float) -> str:
    """Return where a part of the height lies."""
    return f"{10 + (1 - part) * (HEIGHT - 40):.1f}"


def curve(svg: ET.Element, xs: Floats, ys: Floats) -> None:
    """Draw a curve through points given as parts of width and height."""
    points = " ".join(f"{across(float(x))},{up(float(y))}" for x, y in zip(xs, ys, strict=True))
    ET.SubElement(svg, "polyline", {"class": "curve", "points": points})


def dot(svg: ET.Element, x: str, y: str, radius: float) -> None:
    """Draw a dot."""
    ET.SubElement(svg, "circle", {"class": "dot", "cx": x, "cy": y, "r": str(radius)})


def frame(svg: ET.Element, high: tuple[str, str], along: tuple[str, str]) -> None:
    """Draw both axes, with the text of their ends."""
    corner = f"{across(0)},{up(1)} {across(0)},{up(0)} {across(1)},{up(0)}"
    ET.SubElement(svg, "polyline", {"class": "axis", "points": corner})
    words(svg, high[0], str(LEFT - 8), "18", "end")
    words(svg, high[1], str(LEFT - 8), up(0), "end")
    words(svg, along[0], str(LEFT), str(HEIGHT - 8))
    words(svg, along[1], str(WIDTH - RIGHT), str(HEIGHT - 8), "end")


def words(svg: ET.Element, text: str, x: str, y: str, anchor: str = "start") -> None:
    """Write text."""
    ET.SubElement(svg, "text", {"x": x, "y": y, "text-anchor": anchor}).text = text


def picture(body: ET.Element, title: str, text: str, height: int = HEIGHT) -> ET.Element:
    """Add a picture with its title and what it shows in words."""
    add(body, "h3", title)
    add(body, "p", f"{text}.")
    svg = ET.SubElement(body, "svg", {"viewBox": f"0 0 {WIDTH} {height}", "role": "img"})
    add(svg, "title", title)
    add(svg, "desc", text)
    return svg


def table(body: ET.Element, caption: str, rows: Sequence[tuple[str, str]]) -> None:
    """Add a table of names and values."""
    add(body, "h3", caption)
    table = ET.SubElement(body, "table")
    for name, value in rows:
        row = ET.SubElement(table, "tr")
        add(row, "th", name).set("scope", "row")
        add(row, "td", value)


def add(parent: ET.Element, tag: str, text: str) -> ET.Element:
    """Add an element with text."""
    child = ET.SubElement(parent, tag)
    child.text = text
    return child
