"""Why a device could not be used, in one sentence with what to do about it.

ssh ends with 255 for every failure of its own and tells them apart only in words.
Source: ssh(1), "EXIT STATUS"; the words are those of OpenSSH 9.
"""

from edgepack.base.errors import MachineError
from edgepack.runtime.remote.address import Address

INSTALL = "apt-get install openssh-client"
"""What brings ssh itself."""

_OWN_FAILURE = 255

_HINTS = (
    ("permission denied", "let it in with a key: ssh-copy-id {typed}"),
    ("too many authentication failures", "name the key in ~/.ssh/config, with IdentitiesOnly"),
    ("host key verification failed", "look at its key once, and accept it: ssh {typed}"),
    ("remote host identification has changed", "find out why: ssh {typed}"),
    ("could not resolve", "look at the name, or name it in ~/.ssh/config"),
    ("connection refused", "is sshd running there, on that port?"),
    ("timed out", "is it on, and in this network?"),
    ("no route to host", "is it on, and in this network?"),
    ("bad configuration option", "look at ~/.ssh/config, or at EDGEPACK_SSH"),
    ("can't open user config file", "look at EDGEPACK_SSH"),
)


class LostError(MachineError):
    """The connection ended before the command did; what was heard until then holds."""


def refused(address: Address, status: int, said: str) -> MachineError:
    """Return the error for an ssh that ended before the shell said its first word.

    Args:
        address: Where it should have connected to.
        status: Its exit code.
        said: Its last line on stderr.
    """
    if status != _OWN_FAILURE:
        return MachineError(
            "E-DEVICE",
            f"{address} gives no shell: {said or f'it ends with {status}'}",
            hint=f"this must print Linux: ssh {address.typed} uname",
        )
    hint = next((hint for word, hint in _HINTS if word in said.lower()), "try: ssh {typed}")
    return MachineError(
        "E-DEVICE",
        f"{address} cannot be reached: {said or 'ssh does not say why'}",
        hint=hint.format(typed=address.typed),
    )


def no_client(command: str, error: OSError) -> MachineError:
    """Return the error for an ssh that could not be started."""
    return MachineError(
        "E-SSH",
        f"cannot start {command!r}: {(error.strerror or str(error)).lower()}",
        hint=INSTALL,
    )
