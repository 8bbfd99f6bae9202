"""Rewinding a database: the state of an earlier head takes the place of a later one, in one batch.

The rows of that state are read from another database that ends at it. Blocks above the earlier head
go with their indexes; certificates, justifications and links stay, for they prove what was signed.
"""

from collections.abc import Iterator

from node.storage.chain_store import CHANGES, HEAD, headers, heads, places
from node.storage.kv import KeyValueStore, Reader, Row
from state.block import bodies
from state.genesis import Genesis
from state.transaction import wire_id
from state.types import Hash


def rewind(store: KeyValueStore, draft: Reader, genesis: Genesis) -> None:
    """Make a database end where another of the same chain ends, below it."""
    old, new = heads.decode(_required(store, HEAD)), heads.decode(_required(draft, HEAD))
    assert new.header.height < old.header.height, "a chain is rewound to a height below its head"
    puts: list[Row] = [(key, _required(draft, key)) for key in (HEAD, CHANGES)]
    deletes: list[bytes] = []
    for prefix in (b"s", b"t"):
        _differences(store, draft, prefix, puts, deletes)
    for height in range(new.header.height + 1, old.header.height + 1):
        _drop_block(store, draft, height, genesis.hash, puts, deletes)
    _drop_epochs(store, new.header.height // genesis.params.staking.epoch_blocks, deletes)
    store.write(puts, deletes, sync=True)


def _required(reader: Reader, key: bytes) -> bytes:
    data = reader.get(key)
    assert data is not None, "a database of a chain has a head"
    return data


def _differences(
    store: Reader, draft: Reader, prefix: bytes, puts: list[Row], deletes: list[bytes]
) -> None:
    """Collect what turns one database's rows under a prefix into the other's."""
    stop = bytes([prefix[0] + 1])
    ours, theirs = store.scan(prefix, stop), draft.scan(prefix, stop)
    here, there = next(ours, None), next(theirs, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here[0] < there[0]):
            assert here is not None, "one of the two has a row"
            deletes.append(here[0])
            here = next(ours, None)
            continue
        if here is None or there[0] < here[0]:
            puts.append(there)
        else:
            if here[1] != there[1]:
                puts.append(there)
            here = next(ours, None)
        there = next(theirs, None)


def _drop_block(
    store: Reader,
    draft: Reader,
    height: int,
    genesis_hash: Hash,
    puts: list[Row],
    deletes: list[bytes],
) -> None:
    at = height.to_bytes(8, "big")
    row = headers.trusted(_required(store, b"h" + at))
    deletes += [b"h" + at, b"b" + at, b"o" + at, b"i" + row.block_id]
    for wire in bodies.trusted(_required(store, b"b" + at)).transactions:
        key = b"x" + wire_id(genesis_hash, wire)
        place, before = store.get(key), draft.get(key)
        if place is None or places.trusted(place).height != height:
            continue
        if before is None:
            deletes.append(key)
        else:
            puts.append((key, before))  # it stood in an earlier block as well


def _drop_epochs(store: Reader, epoch: int, deletes: list[bytes]) -> None:
    """Collect the boundaries behind the one that begins an epoch, and sets behind the next."""
    deletes += _keys(store, b"e", epoch + 1)
    deletes += _keys(store, b"v", epoch + 2)


def _keys(store: Reader, prefix: bytes, number: int) -> Iterator[bytes]:
    stop = bytes([prefix[0] + 1])
    return (key for key, _ in store.scan(prefix + number.to_bytes(8, "big"), stop))
