"""What other tools' variables say: HF_*, AWS_* and BUCKET_* are honoured unchanged, below our own configuration."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cachemgr.configuration.sources import Key, Layer, Tree, plant

_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token")
# A whole set of one owner or none of it: another owner's session token or secret does not fit this key.
_CREDENTIAL_SETS = (
    ("BUCKET_ACCESS_KEY_ID", "BUCKET_SECRET_ACCESS_KEY", "BUCKET_SESSION_TOKEN"),
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
_FIRST_OF: dict[Key, tuple[str, ...]] = {
    ("hub", "endpoint"): ("HF_ENDPOINT",),
    ("s3", "endpoint_url"): ("BUCKET_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    ("s3", "region"): ("AWS_REGION", "AWS_DEFAULT_REGION"),
}
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})
_LONGEST_TOKEN = 4096
_TOKEN_FILE_SECONDS = 2.0


def read_borrowed(environ: Mapping[str, str], *, own: frozenset[Key]) -> Layer:
    """Read the variables of other tools; empty ones count as unset.

    `own` are the keys that our own configuration gives: its S3 credentials are never completed with another
    owner's.
    """
    values: Tree = {}
    names: dict[Key, str] = {}

    def give(key: Key, value: str, name: str) -> None:
        plant(values, key, value)
        names[key] = name

    for key, variables in _FIRST_OF.items():
        name = next((variable for variable in variables if environ.get(variable)), None)
        if name:
            give(key, environ[name], name)
    if not any(("s3", part) in own for part in _CREDENTIALS):
        for key, value, name in _credentials(environ):
            give(key, value, name)
    token, name = hub_token(environ)
    if token:
        give(("hub", "token"), token, name)
    return Layer("env", values, "environment", names)


def _credentials(environ: Mapping[str, str]) -> list[tuple[Key, str, str]]:
    for owner in _CREDENTIAL_SETS:
        if environ.get(owner[0]):
            pairs = zip(_CREDENTIALS, owner, strict=True)
            return [(("s3", part), environ[name], name) for part, name in pairs if environ.get(name)]
    return []


def hub_token(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The token that the hub's own client would send, and where it was found: HF_TOKEN, else what a login stored.

    None where HF_HUB_DISABLE_IMPLICIT_TOKEN says that no token is to be sent unasked.
    """
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in _TRUE:
        return None, ""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := environ.get(name, "").strip():
            return token, name
    path = _path(environ, "HF_TOKEN_PATH") or hub_home(environ) / "token"
    # A home on a volume that hangs must not hang the start: whoever needs the token then is told to set HF_TOKEN.
    read: list[str] = []
    reader = threading.Thread(target=_read_token, args=(path, read), name="hub token", daemon=True)
    reader.start()
    reader.join(_TOKEN_FILE_SECONDS)
    return (read[0], str(path)) if read and read[0] else (None, "")


def _read_token(path: Path, into: list[str]) -> None:
    # No file, no login: public repositories need none.
    with suppress(OSError, UnicodeDecodeError), path.open(encoding="utf-8") as file:
        into.append(file.read(_LONGEST_TOKEN).strip())


def hub_home(environ: Mapping[str, str]) -> Path:
    """HF_HOME as the hub's own client finds it."""
    return _path(environ, "HF_HOME") or xdg_cache(environ) / "huggingface"


def hub_cache(environ: Mapping[str, str]) -> Path | None:
    """The hub directory that the environment asks for, or None; HF_HUB_CACHE comes before the older names."""
    asked = _path(environ, "HF_HUB_CACHE") or _path(environ, "HUGGINGFACE_HUB_CACHE")
    hub = _path(environ, "HF_HOME")
    return asked or (hub / "hub" if hub else None)


def xdg_cache(environ: Mapping[str, str]) -> Path:
    """The user's cache directory; a relative XDG_CACHE_HOME is invalid and ignored, as its standard demands."""
    given = environ.get("XDG_CACHE_HOME", "")
    return Path(given) if given.startswith("/") else home(environ) / ".cache"


def home(environ: Mapping[str, str]) -> Path:
    """The user's home directory, `/` for a user that has none (a bare uid in a container)."""
    if environ.get("HOME", "").startswith("/"):
        return Path(environ["HOME"])
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/")


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    given = environ.get(name)
    if not given:
        return None
    rest = given.removeprefix("~/")
    return home(environ) / rest if rest != given else Path(given)
