"""What a build gives back for one target."""

from dataclasses import dataclass
from pathlib import Path

from edgepack.spec.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle that was written.

    Attributes:
        path: Where it lies.
        report: The report beside it.
        sha256: Of the bundle.
        bytes: Size of the bundle.
        manifest: What it says of itself.
        speed: What is known of speed, a sentence.
        sentences: What was found and decided.
        tuned: What was found about session options, empty where nobody asked.
        advice: What to ask for next, where accuracy kept most of the model out of integers.
    """

    path: Path
    report: Path
    sha256: str
    bytes: int
    manifest: Manifest
    speed: str
    sentences: tuple[str, ...]
    tuned: str = ""
    advice: str = ""
