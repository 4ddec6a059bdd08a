from __future__ import annotations

from tests.unit.cluster.conftest import Cluster, command, create, until


async def test_smoke(two: Cluster) -> None:
    node = two.view.node("node-1")
    assert node is not None
    identity = await create(node, "web")
    entry = await two.view.refresh(node.id, identity)
    assert entry is not None and entry.state == "created"
    assert two.names() == ["/web"]
    assert two.names(all=False) == []
    await command(node, "POST", f"/containers/{identity}/start")
    await until(lambda: two.names(all=False) == ["/web"])
    print(two.listed())
