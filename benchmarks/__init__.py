"""Benchmarks: what the proxy costs beside a bare engine, measured in one run on one machine. See README.md."""
