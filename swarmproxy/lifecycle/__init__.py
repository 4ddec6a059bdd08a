"""What changes the cluster: one saga a file, ordered steps, each with its undo."""
