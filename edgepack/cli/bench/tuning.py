"""``edgepack bench --tune``."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.cli import terminal

if TYPE_CHECKING:
    from edgepack.bench.subject import Subject
    from edgepack.bench.tuning import Tuned
    from edgepack.devices import Timing

_TUNING = 60.0
"""Seconds that tuning may take."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How to tune: seconds a model (None for a minute), and where (None for this machine)."""

    seconds: float | None
    device: "Timing | None" = None


def tune(subjects: "Iterable[Subject]", wish: Wish, *, json: bool, quiet: bool) -> int:
    """Find the fastest session options of each model, and print them."""
    from edgepack.bench import tuning
    from edgepack.bench.doubts import doubts

    tell = terminal.silence if quiet else terminal.progress
    search = tuning.Search(wish.seconds or _TUNING, device=wish.device)
    found = [(each, tuning.tune(each, search, tell)) for each in subjects]
    if json:
        terminal.show_json(
            {
                "format": "edgepack-tuning/1",
                "results": [
                    {
                        "model": each.path,
                        "device": "local" if wish.device is None else wish.device.name,
                        "session": tuned.session,
                        "verdict": tuned.verdict,
                        "rounds": tuned.rounds,
                    }
                    for each, tuned in found
                ],
            }
        )
        return 0
    rows = [(each.path, *map(str, item)) for each, t in found for item in t.session.items()]
    terminal.table("", ("model", "session option", "value"), rows)
    for each, tuned in found:
        terminal.say(f"{each.path}: {_about(tuned)}")
        for doubt in doubts(tuned.run) if tuned.run else ():
            terminal.say(f"doubt: {doubt.cause}; {doubt.remedy}")
    return 0


def _about(tuned: "Tuned") -> str:
    if tuned.verdict is None:
        return "the default is kept: nothing was faster"
    low, high = tuned.verdict.interval
    took = f"{tuned.verdict.ratio:.4f} [{low:.4f}, {high:.4f}] of the time of the default"
    if tuned.verdict.decision == "faster":
        return f"takes {took}"
    return f"the default is kept: the best other took {took}, {tuned.verdict.decision}"
