"""What can be said about a transaction without asking the store.

The answer to a transaction can be lost after it was applied. Sending it again is harmless when its own effect makes one
of its compares fail (`guarded`); whether the first copy had been applied is then read off the keys (`outcome`). When
the keys prove neither, nobody knows, and that is what the caller is told: a wrong "no" would make a proxy delete the
container whose claim it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarmproxy.discovery.store import KV, Absent, Compare, ModIs, NoneNewer, Op, Put, TxnResult

__all__ = ["LIMIT", "check", "guarded", "outcome", "touched"]

LIMIT = 128
"""Operations, and compares, in one transaction: etcd's --max-txn-ops."""


def check(compares: Sequence[Compare], ops: Sequence[Op]) -> None:
    """Raises ValueError for what no store takes: more than LIMIT parts, or two operations on one key."""
    if max(len(compares), len(ops)) > LIMIT:
        raise ValueError(f"a transaction holds at most {LIMIT} compares and operations")
    if len({op.key for op in ops}) != len(ops):
        raise ValueError("two operations of one transaction are on the same key")


def guarded(compares: Sequence[Compare], ops: Sequence[Op]) -> bool:
    """Whether a second copy of an applied transaction fails its own compares."""
    puts = {op.key for op in ops if isinstance(op, Put)}
    written = {op.key for op in ops}
    for compare in compares:
        match compare:
            case Absent(key) | ModIs(key, 0):
                if key in puts:
                    return True
            case ModIs(key, _):
                if key in written:
                    return True
            case NoneNewer(prefix, _):
                if any(key.startswith(prefix) for key in puts):
                    return True
    return False


def touched(compares: Sequence[Compare], ops: Sequence[Op]) -> list[str]:
    """The keys `outcome` wants to see, at most LIMIT of them, those written first."""
    names = [op.key for op in ops] + [compare.key for compare in compares if not isinstance(compare, NoneNewer)]
    return list(dict.fromkeys(names))[:LIMIT]


def outcome(compares: Sequence[Compare], ops: Sequence[Op], found: Mapping[str, KV], known: int) -> TxnResult | None:
    """Whether a transaction, sent twice and refused the second time, was applied the first time; None = not provable.

    Args:
        found: the keys of `touched` that exist now, from one snapshot.
        known: a revision of the store from before the first sending.
    """
    puts = [op for op in ops if isinstance(op, Put)]
    revisions = {found[op.key].mod_revision for op in puts if op.key in found}
    if (
        len(revisions) == 1
        and min(revisions) > known
        and all(op.key in found and found[op.key].value == op.value and found[op.key].lease == op.lease for op in puts)
        and not any(op.key in found for op in ops if not isinstance(op, Put))
    ):
        return TxnResult(True, revisions.pop())
    for compare in compares:
        if isinstance(compare, NoneNewer) or (held := found.get(compare.key)) is None:
            continue
        absent = isinstance(compare, Absent) or compare.revision == 0
        if absent and held.create_revision <= known:
            return TxnResult(False, known)
        if isinstance(compare, ModIs) and compare.revision != held.mod_revision <= known:
            return TxnResult(False, known)
    return None
