"""How each kind of value is written in a configuration, read from it, and shown again."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from cachemgr.domain.errors import Usage
from cachemgr.domain.quantity import Amount, format_duration, parse_duration, parse_size
from cachemgr.domain.ref import Ref

T = TypeVar("T")

_LONGEST_SOCKET_PATH = 107  # sun_path holds 108 bytes with its final NUL
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?")
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class Address(NamedTuple):
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def refuse(detail: str, hint: str, key: str = "") -> NoReturn:
    """Refuse the value at hand, or that of `key` (relative to the section) where two do not fit each other."""
    raise PydanticCustomError("refused", "{detail}", {"detail": detail, "hint": hint, "key": key})


def _text(value: object, hint: str) -> str:
    if not isinstance(value, str):
        refuse(f"is {type(value).__name__}, not text in quotes", hint)
    return value


def _asked(parse: Callable[[str], T]) -> Callable[[Any], T]:
    """A validator that reads text by one of our own parsers; what is read already stays."""

    def read(value: Any) -> T:  # whatever TOML, the environment or a flag holds
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, "see --help")
        try:
            return parse(text)
        except Usage as exc:
            refuse(exc.detail, exc.hint)

    return read


def _unless(kind: type, read: Callable[[Any], object]) -> BeforeValidator:
    return BeforeValidator(lambda value: value if isinstance(value, kind) else read(value))


def _or_unset(validator: BeforeValidator) -> BeforeValidator:
    """The same, where an empty text means that nothing is set."""
    read: Callable[[Any], object] = validator.func  # type: ignore[assignment]  # ours take the value alone
    return BeforeValidator(lambda value: None if value is None or value == "" else read(value))


def _read_path(value: object) -> Path:
    hint = "write an absolute path, or one below ~/"
    if isinstance(value, Path):
        path = value
    else:
        text = _text(value, hint)
        path = Path(text).expanduser() if text.startswith("~/") else Path(text)
        if "\0" in text:
            refuse("has a NUL in it", hint)
    if not path.is_absolute():
        refuse(f"{str(path)[:80]!r} is not an absolute path", hint)
    return Path(os.path.normpath(path))


def _read_socket(value: object) -> Path:
    path = _read_path(value)
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        refuse(f"is longer than {_LONGEST_SOCKET_PATH} bytes, more than a unix socket takes", "choose a shorter path")
    return path


def _read_address(value: object) -> Address:
    hint = "write HOST:PORT, as 127.0.0.1:9470 or [::1]:9470"
    text = _text(value, hint).strip()
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        refuse(f"{text[:80]!r} is not an address", hint)
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            refuse(f"{text[:80]!r} is not an address", hint)
    elif not _HOST.fullmatch(host):
        refuse(f"{text[:80]!r} is not an address", hint)
    return Address(host, int(port))


def _read_url(value: object) -> str:
    hint = "write it as https://host or http://host:port"
    text = _text(value, hint).strip()
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    # The text is not repeated: a URL may carry a password.
    if not good or any(ord(char) <= 32 or ord(char) == 127 for char in text):
        refuse("is not a http or https URL", hint)
    if url.username is not None or url.password is not None or url.query or url.fragment:
        refuse("has a user, a password, a query or a fragment in it", "give credentials by their own keys")
    return text.rstrip("/")


def _read_refs(value: object) -> tuple[str, ...]:
    hint = 'write models = ["hf://org/name@revision"], or CACHEMGR_MODELS="hf://org/name hf://org/other"'
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        refuse("is not a list of refs", hint)
    for item in items:
        try:
            Ref.parse(item)
        except Usage as exc:
            refuse(exc.detail, exc.hint)
    return tuple(dict.fromkeys(items))


def _read_switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in _YES + _NO:
        refuse(f"{text[:40]!r} is neither true nor false", "write true, false or auto")
    return text in _YES


def _read_auto_switch(value: object) -> bool | None:
    return None if value in (None, "", "auto") else _read_switch(value)


def _read_secret(value: object) -> SecretStr:
    secret = _text(value, "put it in quotes")
    # It goes into HTTP headers: a line break there would be another header.
    if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        refuse("has a blank at an end, a line break or a character that is not ASCII", "copy it again")
    return SecretStr(secret)


def _read_share(value: object) -> Amount:
    return _asked(Amount.parse)(value)


Seconds = Annotated[float, BeforeValidator(_asked(parse_duration))]
Mark = Annotated[Amount, _unless(Amount, _read_share)]
OptionalMark = Annotated[Amount | None, _or_unset(_unless(Amount, _read_share))]
OptionalSize = Annotated[int | None, _or_unset(BeforeValidator(_asked(parse_size)))]
AbsolutePath = Annotated[Path, BeforeValidator(_read_path)]
OptionalPath = Annotated[Path | None, _or_unset(BeforeValidator(_read_path))]
SocketPath = Annotated[Path, BeforeValidator(_read_socket)]
OptionalAddress = Annotated[Address | None, _or_unset(_unless(Address, _read_address))]
Url = Annotated[str, BeforeValidator(_read_url)]
OptionalUrl = Annotated[str | None, _or_unset(BeforeValidator(_read_url))]
OptionalText = Annotated[str | None, _or_unset(BeforeValidator(lambda value: _text(value, "put it in quotes")))]
OptionalSecret = Annotated[SecretStr | None, _or_unset(_unless(SecretStr, _read_secret))]
ModelRefs = Annotated[tuple[str, ...], BeforeValidator(_read_refs)]
AutoSwitch = Annotated[bool | None, BeforeValidator(_read_auto_switch)]
Count = Annotated[int, Field(ge=1, le=64)]


def ordered(marks: Mapping[str, Amount | None]) -> None:
    """Refuse marks that are not low <= high <= hard, as far as they can be compared before the disk was measured."""
    given = [(name, mark) for name, mark in marks.items() if mark is not None]
    for (lower, small), (upper, large) in pairwise(given):
        same_kind = (small.percent is None) == (large.percent is None)
        if same_kind and small.of(10**12) > large.of(10**12):
            refuse(
                f"is {small}, above {upper} = {large}",
                "the marks must be low <= high <= hard: evict down to low, when above high, refuse above hard",
                lower,
            )


def spelled(value: object) -> object:
    """A value as a configuration file would spell it; secrets as `***`."""
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, Amount | Address | Path):
        return str(value)
    if isinstance(value, float):
        return format_duration(value)
    if isinstance(value, tuple):
        return list(value)
    return "" if value is None else value
