"""Settings from a text, an environment and flags, whatever this machine has set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cachemgr.settings import Settings

NOWHERE = Path("/nonexistent/cachemgr.toml")
HOME = {"HOME": "/nonexistent"}


def load(
    toml: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    *,
    tmp_path: Path | None = None,
    root: bool = True,
) -> Settings:
    config = None
    if toml is not None:
        assert tmp_path is not None
        config = tmp_path / "cachemgr.toml"
        config.write_text(toml)
    return Settings.load(config, HOME | dict(environ or {}), flags or {}, root=root, system_file=NOWHERE)
