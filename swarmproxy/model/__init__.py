"""Plain values that every layer shares: store records, keys and errors. Imports nothing of the project."""
