"""The sections of the configuration: every key, its type and its default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from cachemgr.configuration.types import (
    AbsolutePath,
    Address,
    AutoSwitch,
    Count,
    Mark,
    OptionalAddress,
    OptionalMark,
    OptionalPath,
    OptionalSecret,
    OptionalSize,
    OptionalText,
    OptionalUrl,
    Seconds,
    SocketPath,
    Url,
    ordered,
    refuse,
)
from cachemgr.domain.quantity import Amount


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True)


class VolumeSettings(_Section):
    """The shared network volume; `path` None: there is none."""

    path: OptionalPath = Path("/runpod-volume")
    quota: OptionalSize = None
    low: OptionalMark = None
    high: OptionalMark = None
    hard: OptionalMark = None
    _explicit: bool = PrivateAttr(default=False)

    @property
    def explicit(self) -> bool:
        """True if somebody named the path: the default one counts only where it is a mount point."""
        return self._explicit

    @model_validator(mode="after")
    def _check(self) -> Self:
        marks = {"low": self.low, "high": self.high, "hard": self.hard}
        for name, mark in marks.items():
            if mark is not None and mark.percent is not None and self.quota is None:
                hint = 'a network volume reports the size of the whole cluster; set quota = "500GB" or what you pay for'
                refuse("is a percentage, but volume.quota is not set", hint, name)
        ordered(marks)
        return self

    def marks(self) -> tuple[int, int, int] | None:
        """`(low, high, hard)` in bytes, or None where nothing limits the volume.

        With a quota they are 80, 90 and 95 % of it where not set, but never above the next one.
        """
        if self.quota is None and self.low is self.high is self.hard is None:
            return None
        whole = self.quota if self.quota is not None else 2**62
        hard = self.hard.of(whole) if self.hard else whole * 95 // 100
        high = self.high.of(whole) if self.high else min(hard, whole * 90 // 100)
        low = self.low.of(whole) if self.low else min(high, whole * 80 // 100)
        return low, high, hard


class DiskSettings(_Section):
    """The container disk; percentages are of its file system."""

    path: AbsolutePath = Path("/var/cache/cachemgr")
    low: Mark = Amount.parse("70%")
    high: Mark = Amount.parse("80%")
    hard: Mark = Amount.parse("90%")
    min_free: Mark = Amount.parse("15%")

    @model_validator(mode="after")
    def _check(self) -> Self:
        ordered({"low": self.low, "high": self.high, "hard": self.hard})
        return self


class ApiSettings(_Section):
    """Where the API is served: always on a unix socket, on TCP only with a token."""

    socket: SocketPath = Path("/run/cachemgr/cachemgr.sock")
    listen: OptionalAddress = None
    token: OptionalSecret = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.listen is not None and self.token is None:
            refuse("is not set, but api.listen is", "a TCP listener needs a token: openssl rand -hex 32", "token")
        return self


class AdminSettings(_Section):
    """Metrics, health and the status page; `listen` None: not served."""

    listen: OptionalAddress = Address("127.0.0.1", 9469)


class StoreSettings(_Section):
    """One S3 store; None leaves a value to the S3 library, `path_style` too."""

    endpoint_url: OptionalUrl = None
    region: OptionalText = None
    path_style: AutoSwitch = None
    access_key_id: OptionalText = None
    secret_access_key: OptionalSecret = None
    session_token: OptionalSecret = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "secret_access_key" if self.access_key_id else "access_key_id"
            refuse("is not set, but its other half is", "a key id and its secret come together", missing)
        return self


class S3Settings(StoreSettings):
    """The S3 store of all buckets, and `stores` for those that live elsewhere."""

    stores: dict[str, StoreSettings] = Field(default_factory=dict)

    def store(self, bucket: str) -> StoreSettings:
        """The store of a bucket: `[s3.stores.<bucket>]` over `[s3]`, credentials as one piece."""
        own = self.stores.get(bucket, StoreSettings())
        shared = {name: getattr(self, name) for name in StoreSettings.model_fields}
        if own.access_key_id is not None:
            shared["session_token"] = None
        return StoreSettings(**(shared | {name: getattr(own, name) for name in own.model_fields_set}))


class HubSettings(_Section):
    """The Hugging Face Hub, or a mirror of it."""

    endpoint: Url = "https://huggingface.co"
    token: OptionalSecret = None


class TransferSettings(_Section):
    """How many connections one large file uses, and how many files move at once."""

    connections: Count = 4
    files: Count = 4


class RunSettings(_Section):
    """`cachemgr run`."""

    wait_timeout: Seconds = 300.0


class DaemonSettings(_Section):
    """The life of the daemon."""

    grace: Seconds = 5.0


class LogSettings(_Section):
    """Log lines; `auto`: text in a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
