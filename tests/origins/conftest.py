"""A hub of our own, and origins that ask it through a real child process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachemgr.origins.child import Child
from cachemgr.origins.hub import PROGRAM, HubOrigin
from tests.services.hub.server import Hub, hub_server

MakeOrigin = Callable[..., HubOrigin]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server() as hub:
        yield hub


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What a child process starts with: nothing of ours about hubs, a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return {**kept, "HF_HOME": str(tmp_path / "hf")}


@pytest.fixture
def make_origin(hub: Hub, environ: dict[str, str]) -> MakeOrigin:
    """An origin at the hub: `make_origin(token, endpoint, silence_seconds, NAME=value of the environment)`."""

    def make(
        token: str | None = None, endpoint: str | None = None, silence_seconds: float = 15, **extra: str
    ) -> HubOrigin:
        return HubOrigin(endpoint or hub.url, token, {**environ, **extra}, Child(PROGRAM, silence_seconds))

    return make


@pytest.fixture
def origin(make_origin: MakeOrigin) -> HubOrigin:
    return make_origin()
