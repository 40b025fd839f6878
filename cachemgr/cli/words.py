"""How a transfer reads as one line: what it does, how far it is, what it took."""

from __future__ import annotations

from cachemgr.cli.follow import View
from cachemgr.cli.text import counted, duration, size, speed

_DOING = {
    "pull": "pulling",
    "promote": "promoting",
    "verify": "verifying",
    "checkpoint_push": "pushing",
    "checkpoint_pull": "restoring",
}


def changed(view: View) -> str:
    """What to say of a transfer that entered a state; nothing of a failure, which is told at the end."""
    if view["state"] == "queued":
        return "waiting"
    if view["state"] == "running":
        return doing(view)
    if view["state"] == "done":
        return summary(view)
    return str(view["state"]) if view["state"] in ("verifying", "cancelled") else ""


def doing(view: View) -> str:
    """`pulling`, `verifying`, ..."""
    return _DOING.get(str(view["kind"]), str(view["kind"]))


def standing(view: View, bytes_per_second: float) -> str:
    """`412 MB of 1.3 GB (31 %), 6 of 20 files, 120 MB/s, 7 s left`."""
    done, total = int(view["done_bytes"]), view["total_bytes"]
    if not total:
        return doing(view)
    parts = [f"{size(done)} of {size(total)} ({100 * done // total} %)"]
    if view["files"]:
        parts.append(f"{view['files_done']} of {counted(view['files'], 'file')}")
    parts.append(speed(bytes_per_second) if bytes_per_second > 0 else "no bytes at the moment")
    if bytes_per_second > 0 and done < total:
        parts.append(f"{duration((total - done) / bytes_per_second)} left")
    return ", ".join(parts)


def summary(view: View) -> str:
    """`1.3 GB in 20 files, 12 s, 108 MB/s`: what it took."""
    result, moved, seconds = view["result"] or {}, int(view["done_bytes"]), float(view["seconds"])
    total, files = result.get("bytes", view["total_bytes"]), result.get("files", view["files"])
    text = f"{size(total)} in {counted(files or 0, 'file')}"
    if total and moved == 0:
        return f"{text}, was here already"
    here = (total or 0) - moved
    reused = f", {size(here)} of it was here already" if here * 100 > (total or 0) else ""
    return f"{text}{reused}, {duration(seconds)}, {speed(moved / max(seconds, 0.001))}"
