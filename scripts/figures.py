"""Write the table of figures into README.md from the JSON in benchmarks/results.

Run: ``python scripts/figures.py`` after a benchmark; ``--check`` only says whether it is true.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

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


def table() -> str:
    """Return the table as Markdown."""
    head = ("model", "what", "against float", "CPU time, float = 1")
    lines = [head, ("---",) * 4, *rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Rewrite the page, or with ``--check`` compare it."""
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = f"{before}{BEGIN}{table()}{END}{after}"
    if "--check" in sys.argv:
        return int(new != text)
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
