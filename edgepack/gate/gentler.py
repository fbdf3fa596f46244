"""Candidates between all integers and float: the most sensitive nodes stay in float."""

from collections.abc import Iterator, Sequence

from edgepack.data.samples import Item
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.sensitivity import noises
from edgepack.graph.precision import integer_nodes
from edgepack.runtime.session import Options


def gentler(rewritten: Rewritten, items: Sequence[Item], options: Options) -> Iterator[Candidate]:
    """Yield the whole recipe with the 1, 2, 4, ... most sensitive nodes in float, at most half.

    Args:
        rewritten: The candidates so far.
        items: Samples to rank on; never those that are reported.
        options: The mode that stands for the target.
    """
    nodes = integer_nodes(rewritten.candidates[0].model)
    if len(nodes) < 2:
        return
    found = noises(rewritten, nodes, items, options)
    ranked = sorted(nodes, key=lambda name: -found[name])  # ties keep the order of the graph
    count = 1
    while 2 * count <= len(nodes):
        yield rewritten.refold(dict.fromkeys(ranked[:count], "float"))
        count *= 2
