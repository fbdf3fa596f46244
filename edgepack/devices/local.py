"""This machine, with the ONNX Runtime that is installed."""

from collections.abc import Sequence
from importlib.metadata import version

from edgepack.base.errors import RequestError
from edgepack.devices import Outputs
from edgepack.runtime import machine
from edgepack.runtime.carry import run_sequence
from edgepack.runtime.session import Session
from edgepack.spec.signature import Sample, Signature


class Local:
    """Runs a model in this process, with the options that a session has by default."""

    name = "local"

    def __init__(self, detail: str = "") -> None:
        if detail:
            raise RequestError("E-DEVICE", f"no device named 'local:{detail}'", hint="type 'local'")
        self.runtime = version("onnxruntime")
        self.arch = machine.arch()
        self.features = machine.features() or frozenset[str]()

    def refuses(self, signature: Signature) -> str:  # noqa: ARG002
        """Nothing travels, see ``Device.refuses``."""
        return ""

    def run(
        self, model: bytes, signature: Signature, items: Sequence[Sequence[Sample]]
    ) -> list[list[Outputs]]:
        """Run every sample of every item, see ``Device.run``."""
        session = Session(model)
        return [list(run_sequence(session.run, item, signature)) for item in items]
