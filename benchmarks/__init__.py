"""What the goals of performance are measured with: one command, every peer, in one run on one machine.

`python -m benchmarks` (or `make bench`) runs the real commands against their peers in interleaved rounds, prints a
table with the distance to each goal, and writes it to `benchmarks/results/<date>.md`. Only ratios and counts mean
anything: absolute times on a shared machine prove nothing.
"""
