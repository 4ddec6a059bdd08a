"""The command line: one module per verb, see `main`."""
