"""Names from outside: which may become a path below a tier, and how any text becomes one file name."""

from __future__ import annotations

import re

from cachemgr.domain.errors import Usage

COMPONENT_BYTES = 255
PATH_BYTES = 1024

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def check_relative(path: str) -> str:
    """Return `path` if it names a file strictly below the directory it will be joined to.

    Raises Usage for anything else: absolute, empty or dotted components, control characters, names that a
    file system would cut or refuse.
    """
    fault = _fault(path)
    if fault:
        raise Usage(f"file name {path[:80]!r} {fault}", hint="the origin lists a name that cannot be stored safely")
    return path


def _fault(path: str) -> str | None:
    if not path or path.startswith("/"):
        return "is not relative"
    if any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in path):
        return "has a control character"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty or dotted component"
    if len(path.encode()) > PATH_BYTES or any(len(part.encode()) > COMPONENT_BYTES for part in path.split("/")):
        return f"is longer than {PATH_BYTES} bytes, or has a component of over {COMPONENT_BYTES}"
    return None


def escape(text: str) -> str:
    """One file name for any text, reversibly: what is not plain is %-escaped, `--` stays ours as a separator."""
    out = "".join(char if char in _PLAIN else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text)
    out = out.replace("--", "-%2D")
    # Parts are joined by `--`: one that began with `-` could be read as the end of the part before it.
    return f"%{ord(out[0]):02X}{out[1:]}" if out.startswith((".", "-")) else out


def unescape(name: str) -> str:
    """The text that `escape` was given."""
    raw = re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), name.encode())
    return raw.decode()
