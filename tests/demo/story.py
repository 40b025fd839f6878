"""The story: what a worker does with models and checkpoints, step by step, each claim checked."""

from __future__ import annotations

import filecmp
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.demo.stage import BUCKET, Stage
from tests.services.hub.faults import Fault
from tests.services.hub.models import model_m20

SCALE = 0.04  # of 1.28 GB: models of 51 MB
SMALL_SCALE = 0.01
PULL_BYTES_PER_SECOND = 25_000_000  # so that there is something to see
MODELS = ("acme/m20", "acme/b20", "acme/c20")
TUNED = "acme/tuned"
BAD = "model-00007-of-00011.safetensors"
READER = 'import huggingface_hub\n\nprint(huggingface_hub.snapshot_download("acme/m20"))\n'
SHOWN_METRICS = (
    "cachemgr_up",
    "cachemgr_moved_bytes_total{",
    "cachemgr_evictions_total{",
    "cachemgr_verification_failures_total{",
    "cachemgr_checkpoints_published_total",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its headline, and what is done and checked."""

    title: str
    play: Callable[[Stage], None]


def prepare(stage: Stage) -> None:
    """Fill the hub, and write what the worker's own jobs would: a program that reads, a checkpoint."""
    for seed, name in enumerate(MODELS):
        stage.hub.add_repo(name, model_m20(SCALE, seed=20 + seed))
    stage.hub.add_repo(TUNED, model_m20(SMALL_SCALE, seed=30))
    (stage.worker.root / "reader.py").write_text(READER)
    directory = stage.worker.root / "out" / "checkpoint-500"
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(random.Random(1).randbytes(20_000_000))
    (directory / "optimizer.pt").write_bytes(random.Random(2).randbytes(8_000_000))
    (directory / "trainer_state.json").write_text('{"global_step": 500}\n')


def pull(stage: Stage) -> None:
    """Origin to volume."""
    stage.hub.fault(Fault("slow", "acme/m20/*", times=None, rate=PULL_BYTES_PER_SECOND))
    stage.run("cachemgr pull hf://acme/m20")
    stage.hub.faults.clear()
    directory = snapshot(stage.worker.volume, "acme/m20")
    stage.check(is_same(stage, "acme/m20", directory), "20 files, byte for byte what the hub serves")
    [seal] = (stage.worker.volume / ".cachemgr/manifests").iterdir()
    digests = [entry["digest"] for entry in json.loads(seal.read_text())["files"]]
    whole = len(digests) == 20 and all(digest.startswith("sha256:") for digest in digests)
    stage.check(whole, "sealed, with the sha256 of each file")


def promote(stage: Stage) -> None:
    """Volume to disk."""
    stage.forget_requests()
    stage.run("cachemgr promote hf://acme/m20")
    stage.run("cachemgr ls")
    stage.run("cachemgr df")
    directory = snapshot(stage.worker.disk, "acme/m20")
    stage.check(is_same(stage, "acme/m20", directory), "hashed again on the way, byte for byte the same")
    stage.check(stage.hub.bytes("acme/*") == 0, "it came from the volume: the hub sent nothing")


def evict(stage: Stage) -> None:
    """The disk fills; the least recently used model leaves."""
    stage.screen.say("The disk fits two models. The third one needs room: the least recently used one leaves.")
    stage.run("cachemgr promote hf://acme/b20")
    stage.run("cachemgr path --tier disk hf://acme/m20")
    stage.screen.say("That was a use of m20: now b20 is the one that was not used for longest.")
    stage.run("cachemgr promote hf://acme/c20")
    stage.run("cachemgr ls --tier disk")
    stage.check(sealed(stage.worker.disk) == {"m20", "c20"}, "b20 left the disk, as a whole; m20 stayed")
    stage.check(sealed(stage.worker.volume) == {"m20", "b20", "c20"}, "the volume still has all three")
    evictions = stage.worker.metric('cachemgr_evictions_total{reason="pressure"}')
    stage.check(evictions == 1, 'cachemgr_evictions_total{reason="pressure"} is 1')


def flip(stage: Stage) -> None:
    """A byte that is wrong at the origin never gets anywhere."""
    stage.screen.say(f"The hub now flips one byte of {BAD} on the way.")
    stage.forget_requests()
    stage.hub.fault(Fault("flip", f"{TUNED}/{BAD}", at=12_345, times=None))
    stage.run(f"cachemgr pull hf://{TUNED}", code=4)
    stage.check("tuned" not in sealed(stage.worker.volume), "exit code 4, and nothing of it is visible")
    stage.run("ls -sh volume/.cachemgr/quarantine")
    found = quarantined(stage.worker.volume)
    stage.check(len(found) == 1, "the bad bytes are in quarantine, with the reason beside them")
    stage.hub.faults.clear()
    stage.forget_requests()
    stage.screen.say("The hub serves the right byte again.")
    stage.run(f"cachemgr pull hf://{TUNED}")
    touched = {asked.file for asked in stage.hub.requests(method="GET", file=f"{TUNED}/*") if asked.bytes}
    stage.check(touched == {f"{TUNED}/{BAD}"}, "only that file was fetched: the others were verified already")
    stage.check(is_same(stage, TUNED, snapshot(stage.worker.volume, TUNED)), "and now all 20 files are right")


def run(stage: Stage) -> None:
    """An unchanged program reads the verified copy."""
    stage.screen.say("HF_HOME and HUGGINGFACE_HUB_CACHE point it at the volume here, as worker images do.")
    stage.forget_requests()
    stage.run("cat reader.py")
    path = Path(stage.read("CACHEMGR_MODELS=hf://acme/m20 cachemgr run -- python reader.py").strip())
    stage.check(
        path == snapshot(stage.worker.disk, "acme/m20"), "its hub library gave it the verified copy on the disk"
    )
    stage.check(stage.hub.requests() == [], "the hub counted 0 requests")


def checkpoint(stage: Stage) -> None:
    """A checkpoint is published and restored."""
    stage.run(f"cachemgr ckpt push out/checkpoint-500 s3://{BUCKET}/run")
    stage.run(f"find s3/buckets/{BUCKET} -type f")
    stage.run(f"cachemgr ckpt ls s3://{BUCKET}/run")
    stage.run(f"cachemgr ckpt pull s3://{BUCKET}/run restored")
    stage.run("diff -r out/checkpoint-500 restored/checkpoint-500 && echo identical")
    made, restored = (stage.worker.root / name / "checkpoint-500" for name in ("out", "restored"))
    names = sorted(path.name for path in made.iterdir())
    same, _, _ = filecmp.cmpfiles(made, restored, names, shallow=False)
    whole = sorted(path.name for path in restored.iterdir()) == names == sorted(same)
    stage.check(whole, f"{len(names)} files came back bit for bit")


def metrics(stage: Stage) -> None:
    """Prometheus would see all of it."""
    stage.forget_requests()
    stage.screen.say(f"Some of {stage.status_page}metrics:")
    text = stage.worker.admin("/metrics")
    shown = [line for line in text.splitlines() if line.startswith(SHOWN_METRICS) and not line.endswith(" 0.0")]
    for line in shown:
        stage.screen.line(line)
    fetched = stage.worker.metric('cachemgr_moved_bytes_total{direction="origin_to_volume"}')
    stage.check(fetched == stage.hub_bytes, "the bytes that it counted are the bytes that the hub sent")
    failures = stage.worker.metric('cachemgr_verification_failures_total{stage="pull"}')
    published = stage.worker.metric("cachemgr_checkpoints_published_total")
    stage.check((failures, published) == (1, 1), "1 file was wrong on the way, 1 checkpoint is published")


STEPS: Sequence[Step] = (
    Step("Pull a model to the volume, every byte checked", pull),
    Step("Promote it to the container disk", promote),
    Step("The disk fills up", evict),
    Step("A byte is wrong at the origin", flip),
    Step("An unchanged program reads it", run),
    Step("A checkpoint goes to S3 and comes back", checkpoint),
    Step("What Prometheus sees", metrics),
)


def snapshot(tier: Path, repo: str) -> Path:
    """The one snapshot of a repository on a tier."""
    [found] = (tier / "huggingface-cache/hub" / f"models--{repo.replace('/', '--')}" / "snapshots").iterdir()
    return found


def sealed(tier: Path) -> set[str]:
    """The names of the models that are sealed on a tier."""
    return {path.name.split("--")[2] for path in (tier / ".cachemgr/manifests").glob("*.json")}


def quarantined(tier: Path) -> list[Path]:
    """The bad files that a tier keeps, without the notes beside them."""
    return [path for path in (tier / ".cachemgr/quarantine").iterdir() if path.suffix != ".json"]


def is_same(stage: Stage, repo: str, directory: Path) -> bool:
    """True if the directory has the files that the hub serves, each with its sha256, and no other."""
    commit = stage.hub.repos.get(repo).find("main")
    wanted = {} if commit is None else {path: file.content.sha256 for path, file in commit.files.items()}
    files = [path for path in directory.rglob("*") if path.is_file()]
    return wanted == {str(path.relative_to(directory)): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
