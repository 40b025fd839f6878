"""Where configuration comes from: a TOML file, the environment, flags. Unknown names are refused."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cachemgr.domain.errors import Usage

Kind = Literal["default", "file", "env", "flag"]
Key = tuple[str, ...]
Tree = dict[str, object]

PREFIX = "CACHEMGR_"
SYSTEM_FILE = Path("/etc/cachemgr/cachemgr.toml")

# Names of ours that are no configuration keys: where the configuration is, where a client finds the daemon, and the
# switch of our tests, which daemons under test inherit.
_OTHER_NAMES = frozenset({"CACHEMGR_CONFIG", "CACHEMGR_SOCKET", "CACHEMGR_REQUIRE_PARTS"})
# Kubernetes puts these into every container beside a service called "cachemgr".
_KUBERNETES = re.compile(r"CACHEMGR_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")

ANY = "*"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says: nested values, and for each key the name that a person knows it by."""

    kind: Kind
    values: Tree = field(repr=False)
    where: str = ""
    names: Mapping[Key, str] = field(default_factory=dict)

    def gives(self, key: Key) -> bool:
        """True if this source has a value for `key`."""
        return key in dict(leaves(self.values)) or key in self.names

    def name(self, key: Key) -> str:
        """Where a person finds this value: the file, the variable, the flag."""
        return self.names.get(key, self.where)


def leaves(values: Mapping[str, object], prefix: Key = ()) -> Iterator[tuple[Key, object]]:
    """Every key of a nested mapping with its value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def plant(values: Tree, key: Key, value: object) -> None:
    """Put `value` at `key`, making the sections on the way; raises Usage where a value already stands in the way."""
    for name in key[:-1]:
        branch = values.setdefault(name, {})
        if not isinstance(branch, dict):
            raise Usage(f"{name} is both a section and a value")
        values = branch
    values[key[-1]] = value


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that looks most like this one, if any does."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def _guess(name: str | None) -> str:
    return f", did you mean {name}?" if name else ""


def is_known(key: Key, known: Iterable[Key]) -> bool:
    """True if `key` is one of `known`, where `*` in a known key stands for any one name."""
    return any(len(key) == len(one) and all(b in (ANY, a) for a, b in zip(key, one, strict=True)) for one in known)


def find_file(config: Path | None, environ: Mapping[str, str], system: Path) -> Path | None:
    """The file to read: the one that was named, else $CACHEMGR_CONFIG, else the system's if it exists."""
    if config is not None:
        return config
    if environ.get("CACHEMGR_CONFIG"):
        return Path(environ["CACHEMGR_CONFIG"])
    return system if system.exists() else None


def read_file(path: Path, known: Sequence[Key]) -> Layer:
    """Read a TOML file; raises Usage that names the file and the line or key."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Usage(f"{path} does not exist", hint="check --config and CACHEMGR_CONFIG", file=str(path)) from None
    except OSError as exc:
        raise Usage(f"{path} cannot be read: {exc.strerror}", hint="check its permissions", file=str(path)) from exc
    except (ValueError, RecursionError) as exc:  # TOMLDecodeError, UnicodeDecodeError, numbers and nests without end
        raise Usage(f"{path} is not TOML: {exc}", hint="strings stand in quotes", file=str(path)) from exc
    for key in _paths(values):
        if not _leads_somewhere(key, known):
            raise _unknown_key(path, key, known)
    return Layer("file", values, str(path))


def _paths(values: Mapping[str, object], prefix: Key = ()) -> Iterator[Key]:
    # Sections too, and before their keys: a typo in a section's name is one error, not one for each key below.
    for name, value in values.items():
        yield (*prefix, name)
        if isinstance(value, Mapping):
            yield from _paths(value, (*prefix, name))


def _leads_somewhere(key: Key, known: Sequence[Key]) -> bool:
    return any(is_known(key, [one[: len(key)]]) for one in known)


def _unknown_key(path: Path, key: Key, known: Sequence[Key]) -> Usage:
    *section, last = key
    here = {one[len(section)] for one in known if len(one) > len(section) and is_known(key[:-1], [one[: len(section)]])}
    if guess := nearest(last, here - {ANY}):
        guess = ".".join((*section, guess))
    elif word := nearest(last, {one[-1] for one in known}, cutoff=0.8):
        guess = next(".".join(one) for one in known if one[-1] == word)  # the right word in the wrong section
    name = ".".join(key)
    return Usage(
        f"{path}: unknown key {name[:120]!r}{_guess(guess)}",
        hint="`cachemgr config show` lists all keys; config/cachemgr.toml explains them",
        file=str(path),
        key=name[:120],
    )


def read_environment(environ: Mapping[str, str], known: Sequence[Key]) -> Layer:
    """Read `CACHEMGR_SECTION__KEY`; raises Usage for any other name that begins like ours."""
    values: Tree = {}
    names: dict[Key, str] = {}
    spellings = {variable(key) for key in known} | _OTHER_NAMES
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _OTHER_NAMES or _KUBERNETES.fullmatch(name):
            continue
        key = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
        if not is_known(key, known):
            raise Usage(
                f"unknown variable {name[:120]}{_guess(nearest(name.upper(), spellings))}",
                hint="variables are CACHEMGR_SECTION__KEY with two underscores; `cachemgr config show` lists the keys",
                key=name[:120],
            )
        plant(values, key, environ[name])
        names[key] = name
    return Layer("env", values, "environment", names)


def variable(key: Key) -> str:
    """The environment variable of a key."""
    return PREFIX + "__".join(part.upper() for part in key)


def read_flags(overrides: Mapping[str, object], known: Sequence[Key]) -> Layer:
    """Read what a command was told: dotted keys, None for a flag that was not given."""
    values: Tree = {}
    for dotted, value in overrides.items():
        key = tuple(dotted.split("."))
        if not is_known(key, known):
            raise Usage(f"unknown setting {dotted!r}{_guess(nearest(dotted, map('.'.join, known)))}", key=dotted)
        if value is not None:
            plant(values, key, value)
    return Layer("flag", values, "command line")
