"""What several files of tests share because it takes seconds to make."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests import templates


@pytest.fixture(scope="session")
def template_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that builds a project of ``edgepack init``, each once."""
    return cache(lambda name: templates.built(name, tmp_path_factory.mktemp(name) / "project"))
