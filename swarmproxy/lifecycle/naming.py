"""Names of containers: which are allowed, and one for who gave none.

The engine would make up a name itself, but a name must be unique in the cluster and is claimed before the engine is
asked. 64 × 64 pairs; when a pair is taken, digits follow.
"""

from __future__ import annotations

import random
import re

from swarmproxy.model.errors import BadRequest

_ALLOWED = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")

_FIRST = (
    "able agile airy amber apt azure bold brave brisk calm candid clear clever cosy crisp daring deft eager early "
    "even fair fast fine firm fleet fond frank free fresh gentle glad golden grand hardy hearty honest humble ideal "
    "jolly keen kind lively loyal lucid merry mild neat noble patient plain polite prime proud quick quiet ready "
    "serene easy sharp sound steady swift warm wise"
).split()
_LAST = (
    "ampere archimedes babbage banach bernoulli bohr boole cantor carson celsius copernicus coulomb curie darwin "
    "descartes dijkstra dirac edison euclid euler faraday fermat fermi feynman fibonacci galilei galois gauss germain "
    "goedel goodall halley hamilton hawking heisenberg herschel hilbert hooke hopper huygens joule kelvin kepler "
    "lagrange lamarr laplace leibniz linnaeus lovelace maxwell meitner mendel mendeleev newton noether nobel pascal "
    "pasteur perlman planck ptolemy ritchie tesla turing volta"
).split()


def valid(name: str) -> str:
    """The name without a leading slash. Raises BadRequest in Docker's words."""
    if not _ALLOWED.match(name):
        raise BadRequest(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name.removeprefix("/")


def invent(attempt: int = 0, rng: random.Random | None = None) -> str:
    """A name for a container that came without one; later attempts carry digits."""
    pick = rng or random
    name = f"{pick.choice(_FIRST)}_{pick.choice(_LAST)}"
    return f"{name}{pick.randrange(10**attempt)}" if attempt else name
