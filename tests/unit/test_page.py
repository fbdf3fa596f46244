from html.parser import HTMLParser
from typing import Any

import msgspec
import numpy as np

from edgepack.bench import page
from edgepack.bench.findings import find
from edgepack.bench.measured import Result
from edgepack.bench.operators import Operator
from edgepack.bench.verdict import Bars
from tests import comparisons

HOSTILE = '<script src="http://x/">&"\'</title>'
VOID = {"meta"}


class Reader(HTMLParser):
    """Collects tags, text and addresses, and refuses an end without its start."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def result(model: str, number: int) -> Result:
    wall = np.random.default_rng(0).gamma(4.0, 0.001, number)
    found = comparisons.measurement(model, [0.0, *np.cumsum(wall[:-1]).tolist()], wall.tolist())
    return msgspec.structs.replace(found, elapsed=60.0)


def check(found: bytes) -> Reader:
    reader = Reader(found.decode())
    assert not reader.open
    assert "script" not in reader.tags
    assert not reader.names & {"src", "href", "srcset"}
    assert "url(" not in reader.text
    assert "@import" not in reader.text
    assert reader.tags.count("desc") == reader.tags.count("svg") > 0
    assert len(found) < 200_000
    return reader


def test_a_page_of_ten_thousand_samples_is_small_whole_and_fetches_nothing() -> None:
    found = page.measurements([result("m", 10_000)])
    reader = check(found)
    assert reader.tags.count("svg") == 2
    assert "10000 samples" in reader.text
    assert found == page.measurements([result("m", 10_000)])


def test_a_hostile_name_of_a_model_is_text() -> None:
    assert HOSTILE in check(page.measurements([result(HOSTILE, 50)])).text


def test_percentiles_without_samples_enough_are_said_to_be_missing() -> None:
    assert "n/a: too few samples" in check(page.measurements([result("m", 50)])).text


def test_equal_samples_are_drawn_without_dividing_by_nothing() -> None:
    assert b"nan" not in page.measurements([result("m", 1)])


def test_a_comparison_has_a_row_per_process_and_one_for_the_verdict() -> None:
    run = comparisons.run([0.05, 0.051, 0.049, 0.05, 0.052])
    reader = check(page.comparison(run, find(run, Bars())))
    assert "Verdict on B: slower" in reader.text
    assert reader.tags.count("circle") == 6


def test_operators_have_bars_and_the_many_share_the_last_one() -> None:
    nodes = tuple(Operator(f"n{i}", f"Op{i:02}", (30 - i) * 1e-6) for i in range(20))
    found = msgspec.structs.replace(result("m", 50), operators=nodes)
    reader = check(page.measurements([found]))
    assert reader.tags.count("svg") == 3
    assert "Op00 x 1" in reader.text
    assert "Op11 x 1" in reader.text
    assert "Op12" not in reader.text
    assert "8 others" in reader.text
