"""The five-minute tour of the README, typed as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
TOUR = README.split("## Five minutes")[1].split("\n## ")[0]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TOUR, re.DOTALL)


def test_the_tour_runs_as_it_is_written(tmp_path: Path) -> None:
    first, own = _blocks("sh")
    (app,) = _blocks("python")
    activate, *typed = first.splitlines()
    assert activate == ". .venv/bin/activate"
    programs = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def sh(script: str, folder: Path) -> None:
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    sh("\n".join(typed), tmp_path)
    from tests.projects import write_stripes

    sh(own, write_stripes(tmp_path / "own"))
    sh("edgepack build -t x86_64 --prefer size", tmp_path / "my-digits")
    image = "import numpy as np\nimage = np.zeros((1, 1, 8, 8), np.float32)\n"
    script = image + app.replace("digits-arm64", "digits-x86_64") + "print(scores.shape)"
    (tmp_path / "my-digits" / "app.py").write_text(script)
    sh('test "$(python app.py)" = "(1, 10)"', tmp_path / "my-digits")


def test_the_figures_are_those_of_the_json() -> None:
    root = Path(__file__).parents[2]
    script = root / "scripts" / "figures.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
