"""Names of containers across hosts, answered on every overlay's bridge."""
