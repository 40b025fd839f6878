"""All configuration, read once: defaults < TOML file < environment < flags; seen by wiring, daemon and cli only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from cachemgr.configuration.borrowed import hub_cache, read_borrowed, xdg_cache
from cachemgr.configuration.sections import (
    AdminSettings,
    ApiSettings,
    DaemonSettings,
    DiskSettings,
    HubSettings,
    LogSettings,
    RunSettings,
    S3Settings,
    StoreSettings,
    TransferSettings,
    VolumeSettings,
)
from cachemgr.configuration.sources import (
    ANY,
    SYSTEM_FILE,
    Key,
    Layer,
    find_file,
    leaves,
    plant,
    read_environment,
    read_file,
    read_flags,
)
from cachemgr.configuration.types import ModelRefs, refuse, spelled
from cachemgr.domain.errors import Usage

_HINT = "write sizes as 80GiB or 80%, times as 30s or 5m; config/cachemgr.toml explains every key"
_SAID = dict.fromkeys(("model_type", "dict_type"), "is a section of keys, not a value")


class Settings(BaseSettings):
    """The whole configuration: frozen, complete and checked."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    models: ModelRefs = ()
    volume: VolumeSettings = VolumeSettings()
    disk: DiskSettings = DiskSettings()
    api: ApiSettings = ApiSettings()
    admin: AdminSettings = AdminSettings()
    s3: S3Settings = S3Settings()
    hub: HubSettings = HubSettings()
    transfers: TransferSettings = TransferSettings()
    run: RunSettings = RunSettings()
    daemon: DaemonSettings = DaemonSettings()
    log: LogSettings = LogSettings()

    _layers: tuple[Layer, ...] = PrivateAttr(default=())
    _hub_cache: Path | None = PrivateAttr(default=None)

    @classmethod
    def load(
        cls,
        config: Path | None,
        environ: Mapping[str, str],
        overrides: Mapping[str, object],
        *,
        root: bool | None = None,
        system_file: Path = SYSTEM_FILE,
    ) -> Settings:
        """Read everything; raises Usage that names the file or variable, the key and what to do.

        `config` is what --config named; `overrides` are flags by dotted key (`disk.path`), None if not given.
        """
        known = tuple(known_keys())
        file = find_file(config, environ, system_file)
        own = [read_file(file, known)] if file else []
        own += [read_environment(_with_socket(environ), known), read_flags(overrides, known)]
        given = frozenset(key for layer in own for key, _ in leaves(layer.values))
        home = _home_defaults(environ, os.geteuid() == 0 if root is None else root)
        layers = (home, read_borrowed(environ, own=given), *own)
        try:
            settings = cls(**_as_sources(layers))
        except ValidationError as exc:
            raise _usage(exc, layers) from None  # pydantic's own text would repeat what it was given
        settings._layers = layers
        settings._hub_cache = hub_cache(environ)
        settings.volume._explicit = settings.source(("volume", "path"))[0] != "default"
        return settings

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: object, **__: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take our layers, the last one first, and nothing that the library would read by itself."""
        if not isinstance(init_settings, InitSettingsSource) or "layers" not in init_settings.init_kwargs:
            return (init_settings,)
        return tuple(InitSettingsSource(settings_cls, x.values) for x in reversed(init_settings.init_kwargs["layers"]))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.volume.path == self.disk.path:
            refuse(
                "is the volume's path, too",
                "the disk is this worker's own; without a volume set volume.path to an empty string",
                "disk.path",
            )
        return self

    @property
    def hub_cache(self) -> Path | None:
        """The hub directory that HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE or HF_HOME asks for, if any does."""
        return self._hub_cache

    def source(self, key: Key) -> tuple[str, str]:
        """Who gave this value (default, file, env or flag) and under which name: a path or a variable."""
        return next(((x.kind, x.name(key)) for x in reversed(self._layers) if x.gives(key)), ("default", ""))

    def show(self) -> dict[str, object]:
        """`{section: {key: {value, source, from}}}`, secrets as `***`; `from` is the file or the variable."""
        shown: dict[str, object] = {}
        for key, value in _values(self):
            kind, name = self.source(key)
            plant(shown, key, {"value": spelled(value), "source": kind, "from": name})
        return shown

    def secrets(self) -> tuple[str, ...]:
        """Every secret value in here, for the log to blot out."""
        return tuple(value.get_secret_value() for _, value in _values(self) if isinstance(value, SecretStr))


def _as_sources(
    layers: tuple[Layer, ...],
) -> dict[str, Any]:
    # Any: "layers" is no field, settings_customise_sources takes it apart before the fields are looked at.
    return {"layers": layers}


def known_keys(section: type[BaseModel] = Settings, prefix: Key = ()) -> Iterator[Key]:
    """Every key that can be configured; `*` stands for a bucket's name."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from known_keys(kind, (*prefix, name))
        elif name == "stores":
            yield from known_keys(StoreSettings, (*prefix, name, ANY))
        else:
            yield (*prefix, name)


def _values(section: BaseModel, prefix: Key = ()) -> Iterator[tuple[Key, object]]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _values(value, (*prefix, name))
        elif isinstance(value, dict):
            for bucket, store in value.items():
                yield from _values(store, (*prefix, name, bucket))
        else:
            yield (*prefix, name), value


def _home_defaults(environ: Mapping[str, str], root: bool) -> Layer:
    if root:
        return Layer("default", {})
    cache = xdg_cache(environ) / "cachemgr"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # Without a runtime directory not below /tmp, where anybody could be first with the name.
    directory = Path(runtime) / "cachemgr" if runtime.startswith("/") else cache / "run"
    return Layer("default", {"disk": {"path": str(cache)}, "api": {"socket": str(directory / "cachemgr.sock")}})


def _with_socket(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The client's CACHEMGR_SOCKET is the daemon's api.socket: one environment, one socket."""
    client, own = environ.get("CACHEMGR_SOCKET"), environ.get("CACHEMGR_API__SOCKET")
    if client and own and client != own:
        raise Usage(
            "CACHEMGR_SOCKET and CACHEMGR_API__SOCKET name different sockets",
            hint="set one of them: clients look at CACHEMGR_SOCKET, the daemon takes either",
            key="api.socket",
        )
    return {**environ, "CACHEMGR_API__SOCKET": client} if client else environ


def _usage(exc: ValidationError, layers: tuple[Layer, ...]) -> Usage:
    faults = [_fault(error, layers) for error in exc.errors(include_url=False, include_input=False)]
    detail = "; ".join(dict.fromkeys(detail for detail, _, _ in faults))
    key, hint = faults[0][1:]
    where = next((x.where for x in reversed(layers) if x.kind == "file" and x.gives(tuple(key.split(".")))), None)
    return Usage(detail, hint=hint, key=key, **({"file": where} if where else {}))


def _fault(error: ErrorDetails, layers: tuple[Layer, ...]) -> tuple[str, str, str]:
    """`(detail, key, hint)` of one thing that does not fit."""
    context = error.get("ctx", {})
    inner = str(context.get("key") or "")
    key = tuple(str(part) for part in error["loc"]) + tuple(inner.split(".") if inner else ())
    layer = next((x for x in reversed(layers) if x.kind != "default" and x.gives(key)), None)
    where = f"{layer.name(key)}: " if layer else ""
    said = _SAID.get(error["type"]) or str(context.get("detail") or error["msg"][:1].lower() + error["msg"][1:])
    name = ".".join(key)
    return f"{where}{name}: {said}", name, str(context.get("hint") or _HINT)
