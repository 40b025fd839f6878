"""Run as a program with a hub directory and a repository: the real hub client, offline, says what it makes of them."""

from __future__ import annotations

import json
import os
import sys


def main(hub: str, repo: str) -> dict[str, object]:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": hub, "HF_HOME": hub + "-home"}
    import huggingface_hub as hf  # noqa: PLC0415 - it reads its environment when it is imported
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415 - likewise

    def attempt(patterns: list[str] | None) -> str:
        try:
            return hf.snapshot_download(repo, local_files_only=True, allow_patterns=patterns)
        except LocalEntryNotFoundError as error:
            return type(error).__name__

    scanned = hf.scan_cache_dir(hub)
    return {
        "main": attempt(None),
        "config": attempt(["config.json"]),
        "file": str(hf.try_to_load_from_cache(repo, "config.json")),
        "tree": sorted(entry.path for entry in hf.get_cached_repo_tree(repo)) if len(sys.argv) > 3 else None,
        "warnings": [str(warning) for warning in scanned.warnings],
        "revisions": {
            revision.commit_hash: {"refs": sorted(revision.refs), "files": revision.nb_files}
            for each in scanned.repos
            for revision in each.revisions
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
