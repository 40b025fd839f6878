"""Addresses of the API: names as one path segment, and what stands behind the question mark."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from cachemgr.domain.ref import Ref


def model(ref_or_id: str, after: str = "", **query: str | bool | None) -> str:
    """`/v1/models/{id}...` of a ref (whole: what is kept or removed is a revision) or of an id; raises Usage."""
    name = str(Ref.parse(ref_or_id).whole) if "://" in ref_or_id else ref_or_id
    return f"/v1/models/{quote(name, safe='')}{after}{questions(**query)}"


def questions(**query: str | bool | None) -> str:
    """`?name=value&...` of what is given; nothing if nothing is."""
    given = {name: str(value).lower() if value in (True, False) else value for name, value in query.items()}
    words = urlencode({name: value for name, value in given.items() if value is not None})
    return f"?{words}" if words else ""
