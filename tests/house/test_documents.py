"""The documents know every setting, metric, error code and exit code; the files they point at exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import cachemgr
from cachemgr.cli.exits import EXIT_CODES
from cachemgr.configuration.sources import ANY
from cachemgr.domain import errors
from cachemgr.metrics import Metrics
from cachemgr.settings import known_keys

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_documented() -> None:
    text = read("docs/configuration.md")
    keys = [".".join(key) for key in known_keys() if ANY not in key]
    assert [key for key in keys if f"`{key}`" not in text] == []
    known = set(keys)
    named = re.findall(r"`([a-z_]+\.[a-z_]+)`", text)
    assert [name for name in named if name not in known] == [], "a setting that does not exist"


def test_every_metric_and_label_is_documented() -> None:
    text = read("docs/metrics.md")
    registry = CollectorRegistry()
    Metrics(registry)
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}`")), None)
        assert row, f"{name} is not documented"
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == set(re.findall(r"`([a-z]+)`", row.split("|")[2])), name
        for value in {value for sample in family.samples for label, value in sample.labels.items() if label != "le"}:
            assert value in text, f"{name}: {value}"


def test_every_error_has_its_code_and_exit_code_documented() -> None:
    rows = {
        cells[1].strip(" `"): cells
        for cells in (row.split("|") for row in read("docs/errors.md").splitlines())
        if len(cells) > 4
    }
    codes = {
        one.code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.CachemgrError)
    }
    assert codes <= set(rows)
    for code in codes:
        assert rows[code][3].strip() == str(EXIT_CODES.get(code, 1)), code
    readme = read("README.md")
    for exit_code in {0, 1, *EXIT_CODES.values()}:
        assert re.search(rf"\| {exit_code} \|", readme), f"README does not know exit code {exit_code}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_at_exists(path: Path) -> None:
    broken = [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
    assert broken == []


def test_the_changelog_is_kept() -> None:
    text = read("CHANGELOG.md")
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased" or versions[0] == cachemgr.__version__
    headings = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert headings <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_locks_pin_everything_and_name_no_registry() -> None:
    for name in ("requirements.lock", "requirements-build.lock", "requirements-dev.lock"):
        text = read(name)
        assert "://" not in text, name
        pins = re.findall(r"^([a-z0-9][a-z0-9._-]*)==\S+(?: ; .*)? \\\n    --hash=sha256:", text, re.MULTILINE)
        entries = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert len(pins) == len(entries), f"{name}: every package has its version and hashes"


def test_the_runtime_is_the_same_in_both_locks() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", read(name), re.MULTILINE))

    runtime, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: development.get(name) for name in runtime} == runtime


def test_shell_scripts_stop_at_the_first_failure() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.sh", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        text = read(name)
        assert text.startswith("#!/usr/bin/env bash\n"), name
        sourced = "sourced by" in text
        assert sourced or re.search(r"^set -[a-z]*u[a-z]*o pipefail$", text, re.MULTILINE), name
