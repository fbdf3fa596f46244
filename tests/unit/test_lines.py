"""The wall of 400 lines: what it stops, and what it lets through."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "lines.py"


@pytest.fixture(scope="module")
def lines() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lines", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_file_at_the_wall_passes(lines: ModuleType, project: Path) -> None:
    (project / "room.py").write_text("x = 1\n" * 400)
    assert lines.main([], project) == 0


def test_a_file_over_the_wall_fails_and_is_named(
    lines: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "room.py").write_text("x = 1\n" * 401)
    assert lines.main([], project) == 1
    assert capsys.readouterr().out == "room.py: 401 lines, the wall is 400\n"


def test_what_git_ignores_is_not_looked_at(lines: ModuleType, project: Path) -> None:
    (project / ".gitignore").write_text("made/\n")
    (project / "made").mkdir()
    (project / "made" / "room.py").write_text("x = 1\n" * 401)
    assert lines.main([], project) == 0


def test_the_report_lists_the_longest_functions_first(
    lines: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "room.py").write_text("def short(): ...\n\n\ndef long():\n    x = 1\n    return x\n")
    assert lines.main(["--report"], project) == 0
    assert capsys.readouterr().out == "   3 room.py:4 long\n   1 room.py:1 short\n"
