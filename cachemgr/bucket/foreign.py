"""What botocore and aiohttp raise, in our words."""

from __future__ import annotations

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointProviderError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from cachemgr.bucket.faults import KEYS_HINT, STORE_HINT, StoreRefused, bad_request, from_answer
from cachemgr.bucket.session import RedirectRefused
from cachemgr.domain.errors import CachemgrError, OriginUnavailable, Unauthorized

FOREIGN = (BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError, OSError)
"""All that a call of the client may raise."""

_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)


def translate(error: Exception, where: str) -> CachemgrError:
    """Our error for one of theirs. Their texts can carry what was signed, so only their kind is told."""
    if isinstance(error, ClientError):
        about = error.response.get("ResponseMetadata", {})
        code = str(error.response.get("Error", {}).get("Code", ""))
        headers = {str(name).lower(): str(value) for name, value in about.get("HTTPHeaders", {}).items()}
        return from_answer(int(about.get("HTTPStatusCode", 500)), code, where, headers)
    if isinstance(error, _CREDENTIALS):
        return Unauthorized(f"{where}: there are no usable credentials ({type(error).__name__})", hint=KEYS_HINT)
    if isinstance(error, ParamValidationError | EndpointProviderError):
        return bad_request(where, f"no request can be made of this ({type(error).__name__})")
    cause = error.kwargs.get("error") if isinstance(error, HTTPClientError) else None
    if isinstance(cause, RedirectRefused):
        return StoreRefused(f"{where}: the store answers {cause.status}: redirects are not followed")
    return OriginUnavailable(f"{where}: the store does not answer ({type(cause or error).__name__})", hint=STORE_HINT)
