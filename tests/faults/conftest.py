"""The truth about claims and containers, from etcd and the engines, with nothing of the product in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swarmproxy.lab import Lab
from tests.faults.claims import wrong
from tests.shared_lab import Etcd, request

Truth = Callable[[], list[str]]


@pytest.fixture
def truth(lab: Lab, etcd: Etcd) -> Truth:
    """What is wrong between the store's claims and what the engines hold."""

    def ask() -> list[str]:
        members = {member["name"]: key.split("/")[1] for key, member in etcd.under("nodes/").items()}
        containers = {}
        for node in lab.nodes:
            _, listed = request("GET", f"{node.http_url}/containers/json?all=1")
            containers[members[node.name]] = {one["Id"]: one["Names"][0].strip("/") for one in listed}
        return wrong(etcd.under(""), containers)

    return ask
