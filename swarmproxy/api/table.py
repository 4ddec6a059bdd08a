"""The whole API at a glance: one row an endpoint. Dispatch, documentation and access rules are made from it.

Rows without a handler are passed to the owner of the container. Endpoints that are not here are 404 `page not found`,
as on an engine.
"""

from __future__ import annotations

from swarmproxy.api import (
    build,
    containers,
    events,
    images,
    networks,
    nodes,
    plugins,
    prune,
    swarm,
    system,
    usage,
    volumes,
)
from swarmproxy.api.route import ANY, ENDED, EXEC, MERGE, OWNER, PAUSED, REFUSE, RUNNING, SAGA, STICKY, VIEW, Route
from swarmproxy.engine.deadline import BULK, LASTING, STOP, STREAM, WORK
from swarmproxy.lifecycle.context import Cluster

C = Cluster

ROUTES: tuple[Route[C], ...] = (
    # -- the whole
    Route("GET", "/_ping", system.ping, serve=VIEW),
    Route("HEAD", "/_ping", system.ping, serve=VIEW),
    Route("GET", "/version", system.version, serve=VIEW,
          differs="Version is the proxy's, engines are components; ApiVersion is the newest that all have."),
    Route("GET", "/info", system.info, serve=VIEW,
          differs="Sums over all nodes; SystemStatus tells node by node, as classic Swarm did."),
    Route("GET", "/events", events.events, serve=MERGE,
          differs="Events of all nodes, with node.name, node.id, node.addr and node.ip among the attributes."),
    Route("GET", "/system/df", usage.disk, serve=MERGE,
          differs="Each image once, its containers and sizes summed over its copies."),
    Route("POST", "/auth", system.any_engine, serve=ANY, deadline=BULK),
    Route("GET", "/distribution/{image...}/json", system.any_engine, serve=ANY, deadline=BULK),
    # -- containers
    Route("GET", "/containers/json", containers.list_, serve=VIEW,
          differs="All nodes; label swarmproxy.node and filter node tell where; ports show the node's address."),
    Route("POST", "/containers/create", containers.create_, serve=SAGA,
          differs="Placed by strategy, constraints and resources; bind mounts are paths on the node that was chosen."),
    Route("POST", "/containers/prune", prune.containers_, serve=SAGA,
          differs="On all nodes that answer; filter node names some."),
    Route("GET", "/containers/{container}/json", containers.inspect, serve=OWNER,
          differs="Carries Node: name, id and address of where it runs."),
    Route("GET", "/containers/{container}/top", serve=OWNER),
    Route("GET", "/containers/{container}/changes", serve=OWNER, deadline=LASTING),
    Route("GET", "/containers/{container}/export", serve=OWNER, deadline=BULK),
    Route("GET", "/containers/{container}/logs", serve=OWNER, deadline=STREAM),
    Route("GET", "/containers/{container}/stats", serve=OWNER, deadline=STREAM),
    Route("POST", "/containers/{container}/start", containers.start, serve=OWNER, deadline=LASTING, then=RUNNING),
    Route("POST", "/containers/{container}/stop", serve=OWNER, deadline=STOP, then=ENDED),
    Route("POST", "/containers/{container}/restart", containers.restart, serve=OWNER, deadline=STOP, then=RUNNING),
    Route("POST", "/containers/{container}/kill", serve=OWNER, deadline=WORK, then=ENDED),
    Route("POST", "/containers/{container}/pause", serve=OWNER, deadline=WORK, then=PAUSED),
    Route("POST", "/containers/{container}/unpause", serve=OWNER, deadline=WORK, then=RUNNING),
    Route("POST", "/containers/{container}/resize", serve=OWNER, deadline=WORK),
    Route("POST", "/containers/{container}/update", containers.update_, serve=OWNER, deadline=LASTING),
    Route("POST", "/containers/{container}/rename", containers.rename_, serve=SAGA, deadline=WORK,
          differs="A name is unique in the whole cluster."),
    Route("POST", "/containers/{container}/wait", containers.wait, serve=OWNER, deadline=STREAM),
    Route("POST", "/containers/{container}/attach", serve=OWNER, deadline=STREAM, hijack=True),
    Route("GET", "/containers/{container}/attach/ws", serve=OWNER, deadline=STREAM, hijack=True),
    Route("GET", "/containers/{container}/archive", serve=OWNER, deadline=BULK),
    Route("HEAD", "/containers/{container}/archive", serve=OWNER, deadline=WORK),
    Route("PUT", "/containers/{container}/archive", serve=OWNER, deadline=BULK),
    Route("DELETE", "/containers/{container}", containers.remove, serve=SAGA, deadline=LASTING),
    Route("GET", "/containers/{container}/checkpoints", serve=OWNER, deadline=WORK),
    Route("POST", "/containers/{container}/checkpoints", serve=OWNER, deadline=LASTING),
    Route("DELETE", "/containers/{container}/checkpoints/{checkpoint}", serve=OWNER, deadline=WORK),
    Route("POST", "/containers/{container}/exec", containers.exec_create, serve=OWNER, deadline=LASTING),
    Route("POST", "/exec/{exec}/start", serve=EXEC, deadline=STREAM, hijack=True),
    Route("POST", "/exec/{exec}/resize", serve=EXEC, deadline=WORK),
    Route("GET", "/exec/{exec}/json", serve=EXEC),
    Route("POST", "/commit", containers.commit, serve=SAGA, deadline=LASTING),
    # -- images
    Route("GET", "/images/json", images.list_, serve=VIEW,
          differs="Each image once; a tag that means another image on some node is shown as node/repo:tag."),
    Route("POST", "/images/create", images.create, serve=ANY, deadline=BULK,
          differs="One node pulls; the others get a copy when a container needs it there."),
    Route("POST", "/images/load", images.load, serve=ANY, deadline=BULK),
    Route("GET", "/images/get", images.save_many, serve=ANY, deadline=BULK),
    Route("GET", "/images/search", system.any_engine, serve=ANY, deadline=BULK),
    Route("POST", "/images/prune", prune.images, serve=SAGA,
          differs="With dangling=false, an image that a container of any node uses stays everywhere."),
    Route("GET", "/images/{image...}/json", images.inspect, serve=ANY),
    Route("GET", "/images/{image...}/history", images.of_one, serve=ANY),
    Route("GET", "/images/{image...}/attestations", images.of_one, serve=ANY),
    Route("GET", "/images/{image...}/get", images.of_one, serve=ANY, deadline=BULK),
    Route("POST", "/images/{image...}/push", images.push, serve=ANY, deadline=BULK),
    Route("POST", "/images/{image...}/tag", images.tag, serve=MERGE, deadline=WORK),
    Route("DELETE", "/images/{image...}", images.remove, serve=MERGE, deadline=LASTING,
          differs="Removed from every node; refused when any node has a user."),
    # -- builds
    Route("POST", "/build", build.build_, serve=STICKY, deadline=BULK,
          differs="Runs on one node, chosen by build arguments constraint: and affinity:, else where most of the "
                  "cluster's images are. What its Dockerfile names is copied there, the result where it is used."),
    Route("POST", "/build/cancel", build.cancel, serve=STICKY),
    Route("POST", "/build/prune", prune.caches, serve=MERGE),
    Route("POST", "/session", build.session, serve=STICKY, deadline=STREAM, hijack=True,
          differs="All calls of one build must come through one proxy."),
    Route("POST", "/grpc", build.grpc, serve=STICKY, deadline=STREAM, hijack=True,
          differs="BuildKit's own protocol does not show its build arguments: no constraints. Clients behind one "
                  "address that build at the same time share a node."),
    # -- networks
    Route("GET", "/networks", networks.list_, serve=VIEW),
    Route("GET", "/networks/", networks.list_, serve=VIEW),
    Route("POST", "/networks/create", networks.create, serve=SAGA, deadline=WORK,
          differs="Driver none, bridge or overlay: a network that spans all nodes with an agent."),
    Route("POST", "/networks/prune", prune.networks, serve=SAGA,
          differs="What is unused on every node goes; never forwarded to an engine."),
    Route("GET", "/networks/{network}", networks.inspect, serve=VIEW, differs="Containers of all nodes."),
    Route("POST", "/networks/{network}/connect", networks.connect_, serve=SAGA, deadline=WORK),
    Route("POST", "/networks/{network}/disconnect", networks.disconnect, serve=SAGA, deadline=WORK),
    Route("DELETE", "/networks/{network}", networks.remove, serve=SAGA, deadline=WORK),
    # -- volumes
    Route("GET", "/volumes", volumes.list_, serve=VIEW,
          differs="A volume has no Mountpoint until its first container gives it a node."),
    Route("POST", "/volumes/create", volumes.create, serve=SAGA, deadline=WORK,
          differs="A record; the data is made on the node of the first container that uses it."),
    Route("POST", "/volumes/prune", prune.volumes, serve=SAGA,
          differs="What no container of the cluster uses goes, data and record."),
    Route("GET", "/volumes/{volume}", volumes.inspect, serve=VIEW),
    Route("PUT", "/volumes/{volume}", swarm.no_cluster_volumes, serve=REFUSE, since="1.42"),
    Route("DELETE", "/volumes/{volume}", volumes.remove, serve=SAGA, deadline=WORK),
    # -- managed plugins
    Route("GET", "/plugins", plugins.list_, serve=MERGE, differs="Each engine's own, named node/plugin."),
    Route("GET", "/plugins/privileges", system.any_engine, serve=ANY, deadline=BULK),
    Route("POST", "/plugins/pull", plugins.new, serve=ANY, deadline=BULK,
          differs="The new plugin's name (--alias) must name a node: node/plugin."),
    Route("POST", "/plugins/create", plugins.new, serve=ANY, deadline=BULK),
    Route("GET", "/plugins/{plugin...}/json", plugins.one, serve=ANY),
    *(
        Route("POST", f"/plugins/{{plugin...}}/{verb}", plugins.one, serve=ANY, deadline=BULK)
        for verb in ("enable", "disable", "set", "push", "upgrade")
    ),
    Route("DELETE", "/plugins/{plugin...}", plugins.one, serve=ANY, deadline=LASTING),
    # -- swarm mode is not what this is, but its nodes are worth having
    Route("GET", "/nodes", nodes.list_, serve=VIEW,
          differs="The members of the cluster, all of them workers; Swarm stays inactive."),
    Route("GET", "/nodes/{node}", nodes.inspect, serve=VIEW),
    Route("POST", "/nodes/{node}/update", nodes.update, serve=SAGA, differs="Availability and labels."),
    Route("DELETE", "/nodes/{node}", nodes.remove, serve=SAGA, differs="Only once its agent has ended; force is not "
          "heeded. The engine and its containers are left alone."),
    *(Route("GET", path, swarm.refuse, serve=REFUSE) for path in ("/swarm", "/swarm/unlockkey")),
    *(
        Route("POST", f"/swarm/{verb}", swarm.refuse, serve=REFUSE,
              differs="A cluster is not made into a swarm." if verb in ("init", "join") else "")
        for verb in ("init", "join", "update", "unlock")
    ),
    Route("POST", "/swarm/leave", swarm.not_part, serve=REFUSE),
    *(
        Route(method, f"/{kind}{path}", swarm.refuse, serve=REFUSE)
        for kind in ("services", "secrets", "configs")
        for method, path in (
            ("GET", ""), ("POST", "/create"), ("GET", "/{id}"), ("POST", "/{id}/update"), ("DELETE", "/{id}"),
        )
    ),
    *(Route("GET", path, swarm.refuse, serve=REFUSE)
      for path in ("/tasks", "/tasks/{id}", "/tasks/{id}/logs", "/services/{id}/logs")),
)  # fmt: skip
