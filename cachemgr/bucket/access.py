"""How a bucket is reached: values from the configuration, secrets never printed."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Access:
    """One S3 store; None leaves a value to what `AWS_*` and the SDK's files say.

    `path_style` None: path style where an endpoint is given, the bucket's own host name at AWS.
    """

    endpoint_url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
