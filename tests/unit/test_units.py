import pytest

from edgepack.base import units


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1500, "1.5 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2_000_000_000, "2.0 GB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_sizes_are_in_steps_of_a_thousand(number: float, text: str) -> None:
    assert units.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 us"),
        (1e-6, "1 us"),
        (0.00123, "1.23 ms"),
        (0.000_999_4, "999 us"),
        (0.000_999_6, "1 ms"),
        (0.999_6, "1 s"),
        (1, "1 s"),
        (90, "90 s"),
        (150, "2.5 min"),
    ],
)
def test_durations_have_three_digits_and_no_exponent(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (2_493_095, "2.49 M"),
        (999_600, "1 M"),
        (999_600_000, "1 G"),
        (119_600_000_000, "120 G"),
        (2_600_000_000_000_000, "2,600 T"),
    ],
)
def test_counts_have_three_digits_and_no_exponent(number: float, text: str) -> None:
    assert units.count(number) == text


def test_a_fraction_is_a_percentage() -> None:
    assert units.percent(0.123) == "12.3 %"
    assert units.percent(0.9999, digits=0) == "100 %"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10", 10),
        ("10B", 10),
        ("1.5MB", 1_500_000),
        ("1.5 mb", 1_500_000),
        ("2k", 2000),
        ("3 GB", 3_000_000_000),
        ("1TB", 1_000_000_000_000),
        ("1e3", 1000),
        ("0", 0),
    ],
)
def test_a_size_is_read_with_or_without_its_unit(text: str, number: int) -> None:
    assert units.parse_size(text) == number


@pytest.mark.parametrize(
    "text", ["", "B", "MB", "big", "1MiB", "1BB", "-1MB", "nan", "inf", "1e999"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"could not convert|is not a size"):
        units.parse_size(text)


@pytest.mark.parametrize("number", [0, 999, 1000, 1500, 999_949, 25_000_000, 1_300_000_000_000])
def test_a_printed_size_is_read_back_to_its_digits(number: int) -> None:
    assert units.size(units.parse_size(units.size(number))) == units.size(number)


@pytest.mark.parametrize(
    ("text", "fraction"), [("0.5%", 0.005), ("2 %", 0.02), ("0%", 0.0), (" 150% ", 1.5)]
)
def test_a_percentage_is_read_as_a_fraction(text: str, fraction: float) -> None:
    assert units.parse_percent(text) == fraction


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("250ms", 0.25), ("2min", 120.0), ("1.5 s", 1.5)]
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "%", "0.5", "-1%", "nan%", "inf%", "half%", "1%%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no percent sign|is not a number"):
        units.parse_percent(text)


@pytest.mark.parametrize("text", ["", "s", "60", "-1s", "nans", "infmin", "1h", "1 sec"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no unit|is not a number"):
        units.parse_duration(text)
