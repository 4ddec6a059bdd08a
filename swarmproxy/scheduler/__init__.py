"""Where a container goes: pure functions over frozen snapshots. Imports only `model`."""
