"""swarmproxy: a whole cluster of Docker hosts behind one DOCKER_HOST."""

from __future__ import annotations

__version__ = "0.1.0"
