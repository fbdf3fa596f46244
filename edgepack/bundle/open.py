"""Open a bundle without trusting it; nothing is ever extracted to a path."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgepack.base.errors import SafetyError
from edgepack.base.files import sha256
from edgepack.bundle import archive, rules, signature
from edgepack.bundle.golden import Golden
from edgepack.bundle.golden import decode as decode_golden
from edgepack.bundle.reading import demand_zip, opened, read
from edgepack.bundle.selfcontained import external
from edgepack.spec.manifest import FORMAT, Manifest
from edgepack.spec.preprocess import Rule
from edgepack.spec.preprocess import decode as decode_rule


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every byte was checked against its manifest.

    Attributes:
        path: Where it was read from.
        sha256: Digest of the whole file; empty where whoever opened it had no use for one.
        size: Bytes of the whole file.
        manifest: What it says of itself.
        model: The ONNX file.
        golden: The self-test.
        extras: The other members: ``preprocess.json``, ``assets/NAME``,
            ``required_operators.config``.
        preprocess: What ``preprocess.json`` says, if the bundle has it.
    """

    path: Path
    sha256: str
    size: int
    manifest: Manifest
    model: bytes
    golden: Golden
    extras: Mapping[str, bytes]
    preprocess: Rule | None = None


def open_bundle(
    path: Path | str, public_key: signature.Key | None = None, *, digest: bool = True
) -> Bundle:
    """Read and verify a bundle.

    No byte is read twice, and what is checked is what is handed out: a file that changes meanwhile
    cannot pass one check and be used as another. Without a key and a digest of the whole, the
    whole is never in memory, each member goes from the file to where it is used.

    Args:
        path: The ``.edgepack`` file.
        public_key: Whose signature must lie beside it; it is checked before anything is parsed.
        digest: Whether the sha256 of the whole file is wanted too. Nothing is checked with it, and
            it takes as long as the check of the model's own digest.

    Raises:
        RequestError: There is no such file, it is not a file that can be read, or the key is none.
        SafetyError: It is damaged, hostile, not signed with this key, or of a format this version
            does not read.
    """
    path = Path(path)
    if public_key is None and not digest:
        with opened(path) as slices:
            return _checked(slices, path, "")
    data = read(path)
    if public_key is not None:
        signature.check(data, path, public_key)
    return parse(data, path, digest=digest)


def parse(data: bytes, path: Path, *, digest: bool = True) -> Bundle:
    """Verify the bytes of a bundle; ``path`` is what errors call it, see ``open_bundle``.

    Raises:
        SafetyError: It is damaged, hostile, or of a format this version does not read.
    """
    demand_zip(data[:2], repr(str(path)))
    return _checked(data, path, sha256(data) if digest else "")


def _checked(data: archive.Sliced, path: Path, whole: str) -> Bundle:
    """Verify an archive, member by member; ``whole`` is its digest where that is wanted."""
    where = repr(str(path))
    entries = archive.index(data, rules.MEMBERS, where)
    _demand(rules.bad_names(tuple(entry.name for entry in entries)), where)
    sizes = {entry.name: entry.size for entry in entries}
    if reason := rules.too_big(sizes):
        raise SafetyError("E-CAP", f"{where}: {reason}")
    manifest = _manifest(archive.extract(data, entries[0], where), where)
    _demand(rules.bad_files(manifest, sizes), where)
    members = {entry.name: _member(data, entry, manifest, where) for entry in entries[1:]}
    model, golden = members.pop(rules.MODEL), members.pop(rules.GOLDEN)
    _self_contained(model, where)
    runs = decode_golden(golden, f"{where}, {rules.GOLDEN}")
    _demand(rules.bad_golden(manifest, runs), where)
    rule = _preprocess(members.get(rules.PREPROCESS), where)
    _demand(rules.bad_preprocess(rule, manifest, runs, members.keys()), where)
    return Bundle(path, whole, len(data), manifest, model, runs, members, rule)


def _manifest(raw: bytes, where: str) -> Manifest:
    """Decode the manifest: canonical JSON, known format, known fields, sound values."""
    try:
        plain: Any = msgspec.json.decode(raw)
        if isinstance(plain, dict) and plain.get("format") != FORMAT:
            raise SafetyError(
                "E-FORMAT",
                f"{where} has format {plain.get('format')!r:.80}, this edgepack reads {FORMAT!r}",
                hint="upgrade edgepack, or build the bundle again",
            )
        # A second spelling of the same data (a key twice, say) would let two readers disagree.
        if msgspec.json.encode(plain, order="sorted") + b"\n" != raw:
            _demand("its manifest is not canonical JSON", where)
        _demand(rules.bad_text(plain), where)
        manifest = msgspec.convert(plain, Manifest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = " ".join(str(error).split())  # it may quote keys, line breaks and all
        raise SafetyError("E-BUNDLE", f"{where}: manifest.json: {reason}") from error
    _demand(rules.bad_manifest(manifest), where)
    return manifest


def _preprocess(raw: bytes | None, where: str) -> Rule | None:
    try:
        return None if raw is None else decode_rule(raw)
    except ValueError as error:
        raise SafetyError("E-BUNDLE", f"{where}: {rules.PREPROCESS}: {error}") from error


def _member(data: archive.Sliced, entry: archive.Entry, manifest: Manifest, where: str) -> bytes:
    content = archive.extract(data, entry, where, crc=False)
    if sha256(content) != manifest.files[entry.name].sha256:
        raise SafetyError(
            "E-DIGEST",
            f"{where}: {entry.name!r} is not what the manifest says it is",
            hint="copy it again, or build it again",
        )
    return content


def _self_contained(model: bytes, where: str) -> None:
    try:
        outside = external(model)
    except ValueError as error:
        raise SafetyError("E-BUNDLE", f"{where}: model.onnx: {error}") from error
    if outside:
        raise SafetyError("E-EXTERNAL-DATA", f"{where}: model.onnx keeps weights outside itself")


def _demand(reason: str | None, where: str) -> None:
    if reason is not None:
        raise SafetyError(
            "E-BUNDLE", f"{where} is refused: {reason}", hint="copy it again, or build it again"
        )
