"""The command line: it reads what was typed, asks the API, and says what came of it.

Each command's module is loaded only when that command runs, so that `cachemgr --help` is there at once. A command
talks to the daemon that runs or, where none does, to one that it starts for itself in its own process (`session`).
Results go to stdout, everything else to stderr; `--json` makes stdout one JSON value, errors included; the exit codes
stand in `exits`.
"""
