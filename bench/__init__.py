"""Benchmarks: what a session costs, how many fit on a core, and how much time the server itself adds.

`python -m bench` measures a running `parley serve` from outside; bench/README.md says how and what came out.
"""
