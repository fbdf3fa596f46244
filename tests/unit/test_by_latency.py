import pytest
import torch
from torch import Tensor, nn

from edgepack.base.errors import ModelError, RequestError
from edgepack.export.interface import bind
from edgepack.runtime.session import Options, Session
from edgepack.spec.decision import Removal
from edgepack.spec.signature import Sample
from edgepack.training.by_latency import Rules, Shrinking
from edgepack.training.groups import Importance
from edgepack.training.layer_time import Layer, Table, layers, single
from tests.modules import EXAMPLE, StripesNet, made


class Wide(StripesNet):
    def __init__(self) -> None:
        super().__init__(32)


class Kinds(nn.Module):
    """A 1-D convolution padded by name, a depthwise one, a product on three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 8, 3, padding="same")
        self.depth = nn.Conv1d(8, 8, 3, stride=2, padding=1, groups=8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.depth(self.first(x)).transpose(1, 2))
        return found


def steps_of_eight(model: bytes, sample: Sample) -> float:
    """Take a second per started block of eight output channels: what a cliff looks like."""
    y = Session(model, Options()).run(sample)["y"]
    return float(-(-y.shape[1] // 8)) if y.ndim > 1 else 0.0


def shrinking(module: nn.Module, multiple: int, table: Table | None = None) -> Shrinking:
    face = bind(module, EXAMPLE)
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1:]
    with torch.enable_grad():
        return Shrinking(face, Rules(last, multiple, Importance("l2", 0.05)), table)


def widths(module: nn.Module) -> list[int]:
    return [len(m.weight) for m in module.modules() if isinstance(m, nn.Conv2d)]


def test_a_layer_alone_has_the_shapes_it_has_in_the_network() -> None:
    face = bind(Kinds().eval(), torch.zeros(2, 4, 10))
    found = layers(face)
    assert [layer.depthwise for (layer,) in found.values()] == [False, True, False]
    shapes = [
        Session(*_opened(layer)).run(single(layer)[1])["y"].shape for (layer,) in found.values()
    ]
    assert shapes == [(2, 8, 10), (2, 8, 5), (2, 5, 3)]


def _opened(layer: Layer) -> tuple[bytes, Options]:
    return single(layer)[0], Options()


def test_a_layer_is_measured_once() -> None:
    asked = list[bytes]()

    def seconds(model: bytes, _sample: Sample) -> float:
        asked.append(model)
        return float(len(asked))

    table = Table(seconds)
    (layer,) = layers(bind(Kinds().eval(), torch.zeros(2, 4, 10)))["last"]
    assert table(layer) == table(layer) == 0  # what the empty run took is no less here
    assert len(asked) == 2  # it, and a run of nothing


def test_a_narrower_depthwise_layer_stays_depthwise() -> None:
    layer = layers(bind(Kinds().eval(), torch.zeros(2, 4, 10)))["depth"][0].narrowed(0, 2)
    assert (layer.widths, layer.groups) == ((6, 6), 6)


def test_channels_go_until_the_whole_network_is_as_fast_as_asked() -> None:
    module, told = made(Wide), list[str]()
    found = shrinking(module, 8, Table(steps_of_eight))
    answers = iter([(0.9, 0.88, 0.92), (0.82, 0.81, 0.83), (0.79, 0.78, 0.8)])
    decided = found.approach(0.8, lambda: next(answers), told.append)
    assert (decided.ratio, decided.interval) == (0.79, (0.78, 0.8))
    assert len(told) == 3  # the table alone was believed neither time
    assert all(width % 8 == 0 and width < 32 for width in widths(module))
    assert module(torch.zeros(3, 1, 8, 8))["scores"].shape == (3, 2)


def test_a_decision_can_be_followed_without_a_clock() -> None:
    one, other = made(Wide), made(Wide)
    first = shrinking(one, 8, Table(steps_of_eight))
    decided = first.approach(0.6, lambda: (0.5, 0.5, 0.5), list[str]().append)
    shrinking(other, 8).follow(decided.steps)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert decided.steps


def test_a_block_that_saves_nothing_is_not_taken() -> None:
    module = made(Wide)
    found = shrinking(module, 4, Table(steps_of_eight))
    found.approach(0.7, lambda: (0.5, 0.5, 0.5), list[str]().append)
    assert all(width % 8 == 0 for width in widths(module))


def test_more_than_can_go_is_refused() -> None:
    found = shrinking(made(Wide), 16, Table(steps_of_eight))
    with pytest.raises(ModelError, match="layers alone still take"):
        found.approach(0.1, lambda: (0.9, 0.9, 0.9), list[str]().append)


def test_what_was_reached_is_named_where_more_cannot_go() -> None:
    found = shrinking(made(Wide), 8, Table(steps_of_eight))
    with pytest.raises(ModelError, match=r"took 0\.812 of its") as caught:
        found.approach(0.8, lambda: (0.81, 0.808, 0.812), list[str]().append)
    assert caught.value.hint == "latency = 0.82 or more, or a smaller round_to"


def test_a_decision_about_another_network_is_refused() -> None:
    with pytest.raises(RequestError, match="'absent', which this module does not have"):
        shrinking(made(Wide), 8).follow([Removal("absent", 8)])
