"""Every command in every document is run, in its order; what else stands there in code works, too."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.e2e.documents import DOCUMENTS, README, ROOT, Block, blocks
from tests.e2e.structure import faults
from tests.integration.content import assert_same
from tests.services.hub.server import Hub
from tests.services.parts import require_program
from tests.services.worker import Worker

pytestmark = [pytest.mark.e2e]

SCHEMA = json.loads((ROOT / "docs/schemas/snapshot-manifest.schema.json").read_text())
WITH_COMMANDS = [document for document in DOCUMENTS if blocks(document, "console")]
# A document that speaks to a socket needs somebody behind it; every other command brings its own daemon.
NEED_NOBODY = [document for document in WITH_COMMANDS if "$CACHEMGR_SOCKET" not in document.read_text()]
COMMAND_SECONDS = 60


def type_in(worker: Worker, command: str, where: Block) -> str:
    """What a command of a document prints; it must go well."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env=worker.environ,
        cwd=worker.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{where}: {command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def served(worker: Worker, by_a_daemon: bool) -> Iterator[None]:
    with worker.serving() if by_a_daemon else nullcontext():
        yield


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("document", "by_a_daemon"),
    [*((document, True) for document in WITH_COMMANDS), *((document, False) for document in NEED_NOBODY)],
    ids=[*(f"{path.name}-served" for path in WITH_COMMANDS), *(f"{path.name}-alone" for path in NEED_NOBODY)],
)
def test_every_command_goes_well(worker: Worker, document: Path, by_a_daemon: bool) -> None:
    typed = [(block, command) for block in blocks(document, "console") for command in block.commands]
    with served(worker, by_a_daemon):
        for block, command in typed:
            words = shlex.split(command, comments=True)
            if words[0] == "make":  # what runs this test, and what tests/e2e/test_demo.py runs
                assert words[1] in targets(), f"{block}: {command}"
                continue
            if words[0] == "curl":
                require_program("curl", "curl")
            type_in(worker, command, block)
    for seal in worker.root.glob("*/.cachemgr/manifests/*.json"):
        assert list(faults(json.loads(seal.read_text()), SCHEMA)) == []


def test_the_checkpoint_of_the_readme_comes_back_bit_for_bit(worker: Worker) -> None:
    for block in blocks(README, "console"):
        for command in block.commands:
            if " ckpt " in command:
                type_in(worker, command, block)
    made, restored = worker.root / "out/checkpoint-500", worker.root / "restored/checkpoint-500"
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        path.name: path.read_bytes() for path in restored.iterdir()
    }


def test_the_python_of_the_readme_reads_a_verified_model(worker: Worker, hub: Hub) -> None:
    [block] = blocks(README, "python")
    program = worker.root / "handler.py"
    program.write_text(block.text)
    with worker.serving():
        path, tier = type_in(worker, f"{sys.executable} handler.py", block).split()
    assert tier == "disk"
    assert_same(hub, "acme/m20", Path(path))


def test_the_image_of_the_readme_starts_its_program_on_the_model(worker: Worker, hub: Hub) -> None:
    [block] = blocks(README, "dockerfile")
    steps = dict(line.split(None, 1) for line in block.text.splitlines())
    assert steps["RUN"] == "pip install cachemgr"  # tests/house/test_image.py installs it in a clean directory
    name, value = shlex.split(steps["ENV"])[0].split("=", 1)
    program = worker.root / "handler.py"
    program.write_text('import huggingface_hub\n\nprint(huggingface_hub.snapshot_download("org/name"))\n')
    command = [*json.loads(steps["ENTRYPOINT"]), *json.loads(steps["CMD"])]
    assert command[-1] == "/handler.py"
    command[-1] = str(program)
    worker.extra[name] = value
    path = Path(type_in(worker, shlex.join(command), block).strip())
    assert path.is_relative_to(worker.disk)
    assert_same(hub, "org/name", path)
    assert not os.path.lexists(worker.socket)
