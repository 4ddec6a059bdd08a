"""One engine as a peer: its address, connections, deadlines, and the client that speaks to it."""
