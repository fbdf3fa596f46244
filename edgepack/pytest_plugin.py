"""The pytest plugin: ``edgepack_compare(a, b)`` makes a test of a comparison of latency.

Example::

    def test_the_new_model_is_not_slower(edgepack_compare):
        edgepack_compare("float.onnx", "int8.onnx", budget=30.0)

It fails where B is slower, and warns where that cannot be told; with ``--edgepack-strict`` it fails
there too. Pytest loads this file in every project that has edgepack installed, hence nothing but
the standard library is imported before a test asks for the fixture.
"""

import os
import secrets
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import pytest

if TYPE_CHECKING:
    from edgepack.bench.findings import Findings
    from edgepack.bench.verdict import Bars

Model: TypeAlias = str | os.PathLike[str]


class InconclusiveWarning(UserWarning):
    """It cannot be told whether B is slower: give more time, or a calmer machine."""


class Compare(Protocol):
    """What the fixture ``edgepack_compare`` is."""

    def __call__(
        self,
        a: Model,
        b: Model,
        *,
        budget: float | None = None,
        tolerate: float | None = None,
        threads: int | None = None,
    ) -> "Findings":
        """Compare two models as ``edgepack compare`` does, and fail the test where B is slower.

        Args:
            a: A bundle or an ONNX file.
            b: Another.
            budget: Seconds to spend at most; None for ``--edgepack-budget``.
            tolerate: A slow-down that nobody minds, as a fraction; None for
                ``--edgepack-tolerate``.
            threads: Of both; None for what ships, 0 for the usable cores, at most four.

        Returns:
            The verdict with its interval, for further asserts.
        """
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, ``pytest --help`` shows them under edgepack."""
    group = parser.getgroup("edgepack", "comparisons of latency")
    group.addoption("--edgepack-budget", default="60s", help="time of a comparison (60s)")
    group.addoption("--edgepack-tolerate", default="0.5%", help="a slow-down nobody minds (0.5%%)")
    group.addoption(
        "--edgepack-strict", action="store_true", help="fail where it cannot be told, too"
    )


@pytest.fixture
def edgepack_compare(pytestconfig: pytest.Config) -> Compare:
    """Compare two models; the test fails where the second is slower."""
    from edgepack.base import units

    budget_here = _option(pytestconfig, "--edgepack-budget", units.parse_duration)
    tolerate_here = _option(pytestconfig, "--edgepack-tolerate", units.parse_percent)
    strict = bool(pytestconfig.getoption("--edgepack-strict"))

    def compare(
        a: Model,
        b: Model,
        *,
        budget: float | None = None,
        tolerate: float | None = None,
        threads: int | None = None,
    ) -> "Findings":
        least = tolerate_here if tolerate is None else tolerate
        seconds = budget_here if budget is None else budget
        bars = _bars(least)
        found = _compare((Path(a), Path(b)), bars, seconds, threads)
        judge(found, f"{os.fspath(b)} beside {os.fspath(a)}", bars, strict=strict)
        return found

    return compare


def judge(found: "Findings", names: str, bars: "Bars", *, strict: bool) -> None:
    """Fail the test, warn, or let it pass.

    Args:
        found: By the comparison.
        names: Of what was compared, for the message.
        bars: What it was held against.
        strict: Whether an open end fails as well.
    """
    decision = found.verdict.decision
    if decision not in {"slower", "inconclusive"}:
        return
    message = f"{names}: {decision}, {_measured(found, bars)}"
    if decision == "slower" or strict:
        pytest.fail(message, pytrace=False)
    warnings.warn(InconclusiveWarning(message), stacklevel=3)


def _measured(found: "Findings", bars: "Bars") -> str:
    from edgepack.base import units

    verdict, (low, high) = found.verdict, found.verdict.interval
    text = (
        f"{verdict.ratio:.4f} of the time, {units.percent(found.confidence, 0)} interval "
        f"[{low:.4f}, {high:.4f}]; {units.percent(bars.tolerate)} are tolerated\n"
        f"{verdict.processes} processes, {verdict.pairs} pairs of sessions; a slow-down of "
        f"{units.percent(verdict.smallest_effect)} would have been found nine times in ten"
    )
    return "\n".join([text, *(f"doubt: {each.cause}; {each.remedy}" for each in found.doubts)])


def _bars(tolerate: float) -> "Bars":
    """Return the bars; what must be detected is four times what is tolerated, at least 2 %."""
    from edgepack.bench.verdict import Bars

    return Bars(tolerate, max(Bars().detect, 4 * tolerate))


def _compare(
    models: tuple[Path, Path], bars: "Bars", budget: float, threads: int | None
) -> "Findings":
    from edgepack.base.errors import EdgepackError
    from edgepack.bench import arms
    from edgepack.bench.contest import Contest, Terms
    from edgepack.bench.findings import Until, find

    terms = Terms(Until(bars), budget, seed=secrets.randbits(31))
    try:
        run, _ = Contest(arms.read(*models, threads), terms).compare()
    except EdgepackError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        pytest.fail(f"error[{error.code}]: {error}{hint}", pytrace=False)
    return find(run, bars)


def _option(config: pytest.Config, name: str, read: Callable[[str], float]) -> float:
    try:
        return read(str(config.getoption(name)))
    except ValueError as error:
        raise pytest.UsageError(f"{name}: {error}") from error
