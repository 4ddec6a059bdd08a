"""Every endpoint of the Engine API, 1.41 to 1.56, has its row."""

from __future__ import annotations

import re

import pytest

from swarmproxy.api.route import Table
from swarmproxy.api.table import ROUTES

ENDPOINTS = """
    GET/HEAD /_ping
    POST /auth
    POST /build
    POST /build/prune
    POST /commit
    GET /configs
    POST /configs/create
    DELETE/GET /configs/{id}
    POST /configs/{id}/update
    POST /containers/create
    GET /containers/json
    POST /containers/prune
    DELETE /containers/{id}
    GET/HEAD/PUT /containers/{id}/archive
    POST /containers/{id}/attach
    GET /containers/{id}/attach/ws
    GET /containers/{id}/changes
    POST /containers/{id}/exec
    GET /containers/{id}/export
    GET /containers/{id}/json
    POST /containers/{id}/kill
    GET /containers/{id}/logs
    POST /containers/{id}/pause
    POST /containers/{id}/rename
    POST /containers/{id}/resize
    POST /containers/{id}/restart
    POST /containers/{id}/start
    GET /containers/{id}/stats
    POST /containers/{id}/stop
    GET /containers/{id}/top
    POST /containers/{id}/unpause
    POST /containers/{id}/update
    POST /containers/{id}/wait
    GET /distribution/{name}/json
    GET /events
    GET /exec/{id}/json
    POST /exec/{id}/resize
    POST /exec/{id}/start
    POST /images/create
    GET /images/get
    GET /images/json
    POST /images/load
    POST /images/prune
    GET /images/search
    DELETE /images/{name}
    GET /images/{name}/attestations
    GET /images/{name}/get
    GET /images/{name}/history
    GET /images/{name}/json
    POST /images/{name}/push
    POST /images/{name}/tag
    GET /info
    GET /networks
    POST /networks/create
    POST /networks/prune
    DELETE/GET /networks/{id}
    POST /networks/{id}/connect
    POST /networks/{id}/disconnect
    GET /nodes
    DELETE/GET /nodes/{id}
    POST /nodes/{id}/update
    GET /plugins
    POST /plugins/create
    GET /plugins/privileges
    POST /plugins/pull
    DELETE /plugins/{name}
    POST /plugins/{name}/disable
    POST /plugins/{name}/enable
    GET /plugins/{name}/json
    POST /plugins/{name}/push
    POST /plugins/{name}/set
    POST /plugins/{name}/upgrade
    GET /secrets
    POST /secrets/create
    DELETE/GET /secrets/{id}
    POST /secrets/{id}/update
    GET /services
    POST /services/create
    DELETE/GET /services/{id}
    GET /services/{id}/logs
    POST /services/{id}/update
    POST /session
    GET /swarm
    POST /swarm/init
    POST /swarm/join
    POST /swarm/leave
    POST /swarm/unlock
    GET /swarm/unlockkey
    POST /swarm/update
    GET /system/df
    GET /tasks
    GET /tasks/{id}
    GET /tasks/{id}/logs
    GET /version
    GET /volumes
    POST /volumes/create
    POST /volumes/prune
    DELETE/GET/PUT /volumes/{name}
"""
EVERY = [(method, path) for line in ENDPOINTS.split("\n") if line.strip()
         for methods, path in (line.split(),) for method in methods.split("/")]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERY)
@pytest.mark.parametrize("name", ["web", "sha256:abc", "node-1"])
def test_it_has_a_row(method: str, path: str, name: str) -> None:
    plain = re.sub(r"\{[^}]*\}", name, path)
    found = Table(ROUTES).find(method, plain, plain.strip("/").split("/"))
    assert found is not None
    assert found.route.method == method
    kind = path.strip("/").split("/")[0]
    assert found.route.path.strip("/").split("/")[0] == kind
    last = path.rsplit("/", 1)[1]
    assert last.startswith("{") or found.route.path.rsplit("/", 1)[1] == last


def test_the_list_is_whole() -> None:
    assert len(EVERY) > 105
