"""Where a device is: ``ssh://[user@]host[:port]``, the host being any name that ssh knows."""

import re
from dataclasses import dataclass

from edgepack.base.errors import RequestError

_FORM = re.compile(
    r"//(?:(?P<user>[\w.][\w.-]*)@)?(?P<host>\w[\w.-]*|\[[0-9a-fA-F:.]+(?:%\w+)?\])"
    r"(?::(?P<port>\d{1,5}))?/?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Address:
    """A place to connect to; what is left open is ssh's to decide.

    Attributes:
        host: A host name, an address, or an alias of ssh's configuration.
        user: Empty where not given.
        port: 0 where not given.
    """

    host: str
    user: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Return the name that users type."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{self.user and self.user + '@'}{host}{f':{self.port}' if self.port else ''}"

    @property
    def arguments(self) -> list[str]:
        """The arguments of ssh that name it; nothing in them can be read as an option."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return [*user, *port, "--", self.host]

    @property
    def typed(self) -> str:
        """The same as words for hints: ``-p 2222 pi@board``."""
        port = f"-p {self.port} " if self.port else ""
        return f"{port}{self.user and self.user + '@'}{self.host}"


def parse(text: str) -> Address:
    """Read what follows ``ssh:`` in the name of a device.

    Raises:
        RequestError: It has another form, or holds a password.
    """
    found = _FORM.fullmatch(text)
    if found is None or int(found["port"] or 22) not in range(1, 65536):
        secret = re.match(r"//[^/@]*:[^/@]*@", text)
        raise RequestError(
            "E-DEVICE",
            "a device's name holds no password" if secret else f"no device named {f'ssh:{text}'!r}",
            hint="use a key or an agent, as ssh does"
            if secret
            else "type ssh://[user@]host[:port]",
        )
    return Address(found["host"].strip("[]"), found["user"] or "", int(found["port"] or 0))
