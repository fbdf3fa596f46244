"""Write the table of figures into README.md from the JSON in benchmarks/results.

Run: ``python scripts/figures.py`` after a benchmark; ``--check`` only says whether it is true.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
END = "<!-- end of figures -->\n"
SMALLER = {
    "vision": "Fashion-MNIST, top-1",
    "text": "SpamAssassin, F1",
    "voice": "taught by Silero VAD, AUC",
}

Row = tuple[str, str, str, str]


def load(name: str) -> dict[str, Any]:
    """Read one result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def rows() -> list[Row]:
    """Return model, what ships, what it keeps, and its CPU time against float."""
    table: list[Row] = []
    for project, score in (("efficientnet_lite0", _agreement), ("silero_vad", _auc)):
        found = load(project)
        # exact mode stands for ARM, the default mode is what x86 without VNNI computes
        default, exact = found["accuracy"], found["accuracy_exact_mode"]
        for path in [key for key, value in default.items() if isinstance(value, dict)]:
            name = Path(path).stem
            scored = exact if name.endswith("arm64") else default
            timed = found["timing"].get(path)
            table.append((project, _label(name), score(scored[path]), _ratio(timed)))
    return table


def _label(name: str) -> str:
    if name.endswith("_peer"):
        return "onnxruntime `quantize_static`, hand-picked"
    return f"edgepack, {name.rpartition('-')[2]}"


def _agreement(entry: dict[str, Any]) -> str:
    low, high = entry["agreement"]["interval"]
    value = entry["agreement"]["value"]
    return f"same top class {value:.1%} [{low:.1%}, {high:.1%}], {entry['n']} crops"


def _auc(entry: dict[str, Any]) -> str:
    auc = entry["auc"]
    flips = f"{entry['flips_at_half']} of {entry['n']} decisions differ"
    return f"AUC {auc['float']:.3f} to {auc['model']:.3f}, {flips}"


def _ratio(timed: dict[str, Any] | None) -> str:
    if timed is None:
        return "not timed here"
    low, high = timed["ratio_range"]
    return f"{timed['ratio']:.3f} [{low:.3f}, {high:.3f}]"


def smaller() -> list[Row]:
    """Return what the pruned, taught int8 students of the templates lose and gain."""
    found: list[Row] = []
    for task, what in SMALLER.items():
        result = load(f"compression_{task}")
        row, times = result["rows"]["student int8"], result["timing"]
        timed = times.get("1 decisions", times)
        name = next(key for key in timed if key in ("student int8.onnx", "student_int8.onnx"))
        faster = f"{1 / timed[name]['ratio']:.1f} x"
        found.append((f"{task}: {what}", _lost(row), f"{row['times_smaller']:.1f} x", faster))
    return found


def _lost(row: dict[str, Any]) -> str:
    inner: Any = row["lost"]
    lost, (low, high) = (
        (inner["mean"], inner["interval"]) if isinstance(inner, dict) else (inner, row["interval"])
    )
    return f"{100 * lost:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def tables() -> dict[str, str]:
    """Return the tables as Markdown, by the marker in front of each."""
    figures = [("model", "what", "against float", "CPU time, float = 1"), *rows()]
    students = [("pruned, taught, int8", "lost", "smaller", "faster"), *smaller()]
    return {"<!-- figures -->\n": _markdown(figures), "<!-- students -->\n": _markdown(students)}


def _markdown(lines: list[Row]) -> str:
    head, *body = lines
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ("---",) * 4, *body))


def main() -> int:
    """Rewrite the page, or with ``--check`` compare it."""
    page = ROOT / "README.md"
    text = new = page.read_text(encoding="utf-8")
    for begin, table in tables().items():
        before, _, rest = new.partition(begin)
        _, _, after = rest.partition(END)
        new = f"{before}{begin}{table}{END}{after}"
    if "--check" in sys.argv:
        return int(new != text)
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
