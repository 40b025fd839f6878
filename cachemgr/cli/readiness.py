"""How far the configured models are, as `wait` watches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cachemgr.client import Api, DaemonAway, DeadlineExceeded

State = dict[str, Any]  # Any: a ModelState as JSON

POLL_SECONDS = 0.2

# The daemon tries all of them again; but time alone heals only the others.
_HOPELESS = frozenset({"usage", "unauthorized", "not_found", "no_space", "verification_failed"})


def states(api: Api) -> list[State] | None:
    """The state of each of the daemon's models; None while no daemon answers."""
    try:
        listed: list[State] = api.call("GET", "/v1/status")["models"]
    except (DaemonAway, DeadlineExceeded):
        return None
    return listed


def ready(listed: Sequence[State]) -> bool:
    """True if all of them are."""
    return all(state["state"] == "ready" for state in listed)


def hopeless(listed: Sequence[State]) -> State | None:
    """One that failed in a way that waiting does not heal."""
    failed = [state for state in listed if state["state"] == "failed" and state["error"]]
    return next((state for state in failed if state["error"]["code"] in _HOPELESS), None)


def standing(listed: Sequence[State]) -> str:
    """What is not ready, and how far it is."""
    late = [state for state in listed if state["state"] != "ready"]
    return "; ".join(
        f"{state['ref']} {state['state']}" + (f" ({state['error']['detail']})" if state["error"] else "")
        for state in late
    )
