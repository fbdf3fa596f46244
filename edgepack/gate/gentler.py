"""Candidates between all integers and float: the most sensitive nodes stay in float.

A node's sensitivity is the error of the outputs when it alone is quantized.
Source: Nagel et al. 2021, arXiv:2106.08295, section 4.4 (debugging flow: per-layer sensitivity).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from edgepack.data.fidelity import fidelity
from edgepack.data.samples import Item
from edgepack.gate.candidates import Candidate, Rewritten
from edgepack.gate.evaluate import evaluate
from edgepack.graph.precision import integer_nodes
from edgepack.runtime.session import Options

_RUNS = 64
"""Runs that sensitivity is measured on: it ranks, it does not decide."""


def gentler(rewritten: Rewritten, items: Sequence[Item], options: Options) -> Iterator[Candidate]:
    """Yield the whole recipe with the 1, 2, 4, ... most sensitive nodes in float, at most half.

    Args:
        rewritten: The candidates so far.
        items: Samples to rank on; never those that are reported.
        options: The mode that stands for the target.
    """
    nodes = integer_nodes(rewritten.candidates[0].model)
    ranked: list[str] = []
    count = 1
    while 2 * count <= len(nodes):
        ranked = ranked or _ranked(rewritten, nodes, list(_few(items)), options)
        yield rewritten.refold(frozenset(ranked[:count]))
        count *= 2


def _ranked(
    rewritten: Rewritten, nodes: Sequence[str], items: Sequence[Item], options: Options
) -> list[str]:
    """Sort nodes by the error that each alone causes, largest first; ties keep graph order."""
    signature = rewritten.signature
    reference = evaluate(rewritten.rounded.data, items, signature, options).outputs
    errors = []
    for name in nodes:
        alone = rewritten.refold(frozenset(nodes) - {name})
        outputs = evaluate(alone.data, items, signature, options).outputs
        noise = fidelity(reference, outputs)[2]
        errors.append(np.inf if noise is None else noise)
    order = np.argsort(np.array(errors), kind="stable")
    return [nodes[index] for index in order]


def _few(items: Sequence[Item]) -> Iterator[Item]:
    """Yield items, the last one cut, until there are enough runs."""
    left = _RUNS
    for item in items:
        if left <= 0:
            return
        yield Item(item.samples[:left], (), item.group, item.where)
        left -= len(item.samples)
