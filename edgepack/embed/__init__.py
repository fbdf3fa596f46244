"""Bundle -> a small app that runs without edgepack; one file per language.

The directory is the registry. Names of the model become identifiers here, once, so that all
languages spell them alike but for their reserved words.
"""

import os
import re
import tempfile
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from edgepack.base import registry
from edgepack.base.errors import MachineError, RequestError
from edgepack.bundle.open import Bundle
from edgepack.runtime.machine import MOST_THREADS
from edgepack.runtime.model import shipped_options
from edgepack.spec.preprocess import Image
from edgepack.spec.signature import Signature

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class App:
    """What every language needs to know.

    Attributes:
        bundle: Verified.
        name: Name of the model as an identifier, lower case.
        runtime: A package whose files the app shall carry.
    """

    bundle: Bundle
    name: str
    runtime: Path | None = None

    @property
    def signature(self) -> Signature:
        """Of the model, state included."""
        manifest = self.bundle.manifest
        return Signature(manifest.inputs, manifest.outputs, dict(manifest.state))

    @property
    def context(self) -> dict[str, Any]:
        """What templates of every language use."""
        manifest = self.bundle.manifest
        options = shipped_options(manifest, 0)
        asked = manifest.runtime.session.get("intra_op_num_threads")
        return {
            "name": self.name,
            "title": manifest.name,
            "target": str(manifest.target.get("name", "")),
            "sha256": manifest.files["model.onnx"].sha256,
            "size": manifest.files["model.onnx"].bytes,
            "oldest": manifest.runtime.min_onnxruntime,
            "level": options.level,
            "most_threads": int(asked or MOST_THREADS),
            "entries": {**options.entries, **exact_entries(manifest.target)},
            "provider": manifest.runtime.provider,
            "golden": self.bundle.golden.n,
            "tolerance": dict(manifest.golden.tolerance),
        }


class Language(Protocol):
    """Writes apps in one language; one that can carry a runtime says so by ``carries = True``."""

    def files(self, app: App) -> dict[str, bytes]:
        """Return the files of the app, path -> content.

        Raises:
            RequestError: The language cannot take this model; the hint names one that can.
        """
        ...


def exact_entries(target: Mapping[str, Any]) -> dict[str, str]:
    """Return the option that keeps integers exact on an x86 that was not the target."""
    int8 = target.get("int8")
    exact = isinstance(int8, dict) and not int8.get("saturating")
    return {"session.x64quantprecision": "1"} if exact else {}


def embed(
    bundle: Bundle, language: str, folder: Path, runtime: Path | None = None
) -> tuple[str, ...]:
    """Write an app to ``folder``, whole or not at all, and return the names of its files.

    Args:
        bundle: Verified.
        language: A file of this folder.
        folder: Must not be there.
        runtime: A package whose files the app shall carry, where the language can do that.

    Raises:
        RequestError: No such language, ``folder`` is there already, or the language cannot take
            the model or the runtime.
        MachineError: The folder cannot be written.
    """
    writer = cast(Language, registry.find("embed", language)())
    check_absent(folder)
    if runtime is not None and not getattr(writer, "carries", False):
        raise RequestError(
            "E-EMBED", f"an app in {language} carries no runtime", hint="leave --runtime out"
        )
    name = identifiers([bundle.manifest.name], ())[bundle.manifest.name].lower()
    files = writer.files(App(bundle, name, runtime))
    try:
        _write(files, folder)
    except OSError as error:
        raise MachineError(
            "E-DISK",
            f"cannot make {str(folder)!r}: {(error.strerror or str(error)).lower()}",
            hint="choose another folder with -o",
        ) from error
    return tuple(sorted(files))


def check_absent(folder: Path) -> None:
    """Refuse a destination that exists.

    Raises:
        RequestError: It does.
    """
    if os.path.lexists(folder):
        raise RequestError("E-EXISTS", f"{str(folder)!r} exists", hint="choose another -o")


def identifiers(names: Iterable[str], reserved: Collection[str]) -> dict[str, str]:
    """Give each name an ASCII identifier of its own, in C and everything that descends from it.

    >>> identifiers(["image", "int", "Größe", "3d", "a b", "a-b"], {"int"})
    {'image': 'image', 'int': 'int_', 'Größe': 'Groe', '3d': 'x3d', 'a b': 'a_b', 'a-b': 'a_b_2'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        folded = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^A-Za-z0-9]+", "_", folded).strip("_") or "x"
        plain = f"x{plain}" if plain[0].isdigit() else plain
        plain = f"{plain}_" if plain in reserved else plain
        unique, count = plain, 2
        while unique in taken:
            unique, count = f"{plain}_{count}", count + 1
        taken.add(unique)
        found[name] = unique
    return found


def image_facts(rule: Image) -> dict[str, Any]:
    """Return what templates of every language say of an image."""
    each = rule.depth
    return {
        "height": rule.size[0],
        "width": rule.size[1],
        "depth": each,
        "filtered": rule.resize in {"bilinear", "area"},
        "scale_only": set(rule.mean) == {0} and set(rule.std) == {1},
        "mean": rule.mean * (each // len(rule.mean)),
        "std": rule.std * (each // len(rule.std)),
    }


def render(template: str, context: Mapping[str, Any]) -> bytes:
    """Fill in a template of ``templates/``.

    Raises:
        MachineError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MachineError(
            "E-EXTRA", "this needs jinja2", hint="pip install 'edgepack[embed]'"
        ) from error
    # No autoescape: the templates are source code, and names reach them as literals by `repr`
    # or `c`, or as identifiers.
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["repr"] = ascii
    environment.filters["c"] = c_string
    environment.filters["plain"] = plain_text
    return environment.get_template(template).render(context).encode()


def c_string(text: str) -> str:
    r"""Write a string literal of C: bytes of UTF-8, those beyond ASCII in octal.

    >>> print(c_string('a"b?é'))
    "a\"b\077\303\251"
    """
    plain = {*range(0x20, 0x7F)} - {*b'"\\?'}  # two question marks may begin a trigraph
    special = {0x22: '\\"', 0x5C: "\\\\"}
    parts = (chr(b) if b in plain else special.get(b, f"\\{b:03o}") for b in text.encode())
    return f'"{"".join(parts)}"'


def plain_text(text: str) -> str:
    """Return a name fit for comments and READMEs: nothing that could end one or start another."""
    return re.sub(r"[^A-Za-z0-9 _.,:\[\]?-]", "?", text)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write all files beside ``folder``, then give the folder its name."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder.parent) as draft:
        root = Path(draft, "app")
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        root.rename(folder)
