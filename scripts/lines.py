"""Hold every tracked Python file to the wall of 400 lines.

Run: ``python scripts/lines.py [--report]``. Prints one line per file over the wall and exits 1;
``--report`` also lists the longest functions, as places to look.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

WALL = 400
SHOWN = 5


def tracked(folder: Path) -> list[Path]:
    """Return the Python files below ``folder`` that git knows, or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    listing = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    files = (folder / name for name in listing.stdout.split("\0") if name)
    return sorted(file for file in files if file.is_file())  # a deleted file is still listed


def length(file: Path) -> int:
    """Return the number of lines of ``file``."""
    return len(file.read_text(encoding="utf-8").splitlines())


def functions(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the length of each function of ``file`` with the place where it begins."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None  # a parsed file has positions
            yield node.end_lineno - node.lineno + 1, f"{file}:{node.lineno} {node.name}"


def main(arguments: list[str], folder: Path) -> int:
    """Check ``folder``; return the exit status."""
    files = tracked(folder)
    over = [(length(file), file) for file in files if length(file) > WALL]
    for lines, file in over:
        print(f"{file.relative_to(folder)}: {lines} lines, the wall is {WALL}")
    if "--report" in arguments:
        found = sorted((pair for file in files for pair in functions(file)), reverse=True)
        for lines, place in found[:SHOWN]:
            print(f"{lines:4} {place.removeprefix(f'{folder}/')}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parent.parent))
