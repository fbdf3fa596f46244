"""For ``pytest benchmarks``: the scripts beside the tests are programs, not modules to collect."""

import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).parent))  # as for the scripts, which import nets and schemes


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect ``test_*.py`` alone; None leaves the rest of the decision to pytest."""
    script = collection_path.suffix == ".py" and not collection_path.name.startswith("test_")
    return True if script else None
