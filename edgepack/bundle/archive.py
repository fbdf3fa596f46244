"""Zip files that can be spelled in one way only.

``write`` lays members back to back, then the directory, then the end record. ``index`` accepts
exactly that layout: it rebuilds every header from the few facts that may vary and compares bytes.
What zip allows and edgepack never writes (encryption, links, zip64, comments, gaps, overlaps,
text before or after) so has no code here that could be wrong about it.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local), 4.3.12 (central), 4.3.16 (end).
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from edgepack.base.errors import SafetyError

RATIO = 100
"""Deflate reaches 1032:1; weights and golden arrays never come near this, bombs do."""

ALIGNED = "model.onnx"
"""Where this member is stored as it is, it starts at a page, so that it can be mapped."""

STORED, DEFLATED = 0, 8

_STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)
"""Text and tables repeat themselves. Codes of weights do not: what looks like a repetition is
chance, and costs more than the codes that it stands for (``benchmarks/sparse_bytes.py``)."""

_MEMORY = 9  # of zlib: more symbols share a table of codes

_PAGE = 4096
_PADDING = 0xD935  # the extra field that Android's zipalign pads with
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # 2.0: deflate
_UNIX = 3 << 8
_REGULAR_FILE = 0o100644 << 16
_TIME, _DATE = 0, 33  # 1980-01-01 00:00:00, the oldest that zip can say
_UTF8 = 0x800
_MOST = 0xFFFF_FFFE  # 0xFFFFFFFF means "see zip64"


class Sliced(Protocol):
    """An archive as it is read: bytes, or a file of which slices are read when they are taken."""

    def __len__(self) -> int:
        """Return the bytes of the whole."""
        ...

    def __getitem__(self, part: slice, /) -> bytes:
        """Return some of them; ``part`` has no step."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """The facts of one member; its headers follow from them.

    Attributes:
        name: Member name.
        method: 0 stored, 8 deflated.
        crc: CRC-32 of the content.
        packed: Bytes in the archive.
        size: Bytes of the content.
        offset: Where its local header begins.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def _shared(self) -> tuple[int, ...]:
        flags = 0 if self.name.isascii() else _UTF8
        sizes = (self.crc, self.packed, self.size, len(self.name.encode()))
        return _VERSION, flags, self.method, _TIME, _DATE, *sizes

    def local(self) -> bytes:
        """Return the header in front of the content."""
        name = self.name.encode()
        padding = b""
        if self.name == ALIGNED and self.method == STORED:
            room = -(self.offset + _LOCAL.size + len(name) + 6) % _PAGE
            padding = struct.pack("<3H", _PADDING, 2 + room, _PAGE) + bytes(room)
        return _LOCAL.pack(b"PK\x03\x04", *self._shared, len(padding)) + name + padding

    def central(self) -> bytes:
        """Return the record in the directory."""
        tail = (0, 0, 0, 0, _REGULAR_FILE, self.offset)
        head = _CENTRAL.pack(b"PK\x01\x02", _UNIX | _VERSION, *self._shared, *tail)
        return head + self.name.encode()


def write(members: Mapping[str, bytes], *, deflate: bool = True) -> bytes:
    """Lay out an archive, members in the order given.

    A member is deflated where that saves at least a tenth, and never if ``deflate`` is false.

    The bytes depend on the members alone, and on the build of zlib: another build may deflate
    the same content to other bytes. Digests of members are of content, so they agree everywhere;
    the digest of the whole file is comparable between machines with the same zlib.

    Raises:
        ValueError: The archive would need zip64, 4 GiB or more.
    """
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name, data in members.items():
        method, packed = _pack(data) if deflate else (STORED, data)
        entry = Entry(name, method, zlib.crc32(data), len(packed), len(data), offset)
        parts += (entry.local(), packed)
        directory.append(entry.central())
        offset += len(parts[-2]) + len(packed)
        if offset > _MOST:
            raise ValueError(f"the archive would take {offset} bytes, more than a zip file holds")
    central = b"".join(directory)
    count = len(directory)
    end = _END.pack(b"PK\x05\x06", 0, 0, count, count, len(central), offset, 0)
    return b"".join((*parts, central, end))


def packed_size(data: bytes) -> int:
    """Return the bytes that a member of this content takes in an archive, headers left out."""
    return len(_pack(data)[1])


def _pack(data: bytes) -> tuple[int, bytes]:
    packed = min((_deflate(data, strategy) for strategy in _STRATEGIES), key=len)
    pays = len(packed) <= 0.9 * len(data) and len(data) <= RATIO * len(packed)
    return (DEFLATED, packed) if pays else (STORED, data)


def _deflate(data: bytes, strategy: int) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS, _MEMORY, strategy)
    return deflate.compress(data) + deflate.flush()


def index(data: Sliced, most: int, where: str) -> tuple[Entry, ...]:
    """Check the layout of an archive and list its members, without unpacking any.

    Args:
        data: The whole file; no byte of it is taken twice.
        most: Largest number of members.
        where: What the file is called, for the error.

    Raises:
        SafetyError: Not an archive that ``write`` could have laid out, or a bomb.
    """
    entries, start = _directory(data, most, where)
    end = 0
    for entry in entries:
        header = entry.local()
        if entry.offset != end or data[end : end + len(header)] != header:
            raise _odd(where, f"the header of member {entry.name!r} contradicts the directory")
        end += len(header) + entry.packed
        if entry.size > RATIO * entry.packed:
            raise SafetyError(
                "E-CAP",
                f"{where}: member {entry.name!r} unpacks to more than {RATIO} times its size",
            )
    if end != start:
        raise _odd(where, "members overlap or leave gaps")
    return entries


def _directory(data: Sliced, most: int, where: str) -> tuple[tuple[Entry, ...], int]:
    """Read the directory, and where it starts."""
    end = data[max(0, len(data) - _END.size) : len(data)]
    if len(end) < _END.size or end[:4] != b"PK\x05\x06":
        raise _odd(where, "it is cut short, or something follows its end")
    _, disk, first, here, count, size, start, comment = _END.unpack(end)
    if disk or first or comment or here != count or start + size + _END.size != len(data):
        raise _odd(where, "its end record does not fit the file")
    if count > most:
        raise SafetyError("E-CAP", f"{where}: {count} members, at most {most} are allowed")
    entries = []
    cursor = start
    for _ in range(count):
        entry = _entry(data, cursor, where)
        entries.append(entry)
        cursor += len(entry.central())
    if cursor != start + size:
        raise _odd(where, "its directory has another length than it says")
    if len({entry.name for entry in entries}) != count:
        raise _odd(where, "two members have the same name")
    return tuple(entries), start


def _entry(data: Sliced, at: int, where: str) -> Entry:
    head = data[at : at + _CENTRAL.size]
    if len(head) < _CENTRAL.size:
        raise _odd(where, "its directory is cut short")
    fields = _CENTRAL.unpack(head)
    raw = data[at + _CENTRAL.size : at + _CENTRAL.size + fields[10]]
    try:
        entry = Entry(raw.decode(), fields[4], fields[7], fields[8], fields[9], fields[16])
    except UnicodeDecodeError as error:
        raise _odd(where, f"member name {raw!r} is not UTF-8") from error
    if head + raw != entry.central() or entry.method not in {STORED, DEFLATED}:
        raise _odd(
            where, f"member {entry.name!r} is a link, encrypted, or has other traits never written"
        )
    return entry


def extract(data: Sliced, entry: Entry, where: str, *, crc: bool = True) -> bytes:
    """Unpack one member of an archive that ``index`` accepted, its declared bytes and no more.

    Args:
        data: The archive.
        entry: The member.
        where: What the file is called, for the error.
        crc: Whether the checksum is computed too; a digest, compared by the caller, says more.

    Raises:
        SafetyError: The content is damaged, or has another size than declared.
    """
    start = entry.offset + len(entry.local())
    packed = data[start : start + entry.packed]
    content = packed if entry.method == STORED else _inflate(packed, entry.size)
    if content is None or len(content) != entry.size or (crc and zlib.crc32(content) != entry.crc):
        raise _odd(where, f"the content of member {entry.name!r} is damaged")
    return content


def _inflate(packed: bytes, size: int) -> bytes | None:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(packed, size + 1)
    except zlib.error:
        return None
    return content if inflate.eof and not inflate.unused_data else None


def _odd(where: str, reason: str) -> SafetyError:
    return SafetyError(
        "E-BUNDLE",
        f"{where} is not a sound bundle: {reason}",
        hint="copy it again, or build it again",
    )
