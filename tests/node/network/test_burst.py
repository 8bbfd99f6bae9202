"""Everything at once: far more than a block takes comes to one node, and none of it is lost."""

import asyncio
from pathlib import Path

from node.mempool import MempoolLimits
from node.rpc.backend import Stage
from tests.node.network.mesh import SENDERS, Mesh, transfer

PENDING_MAX = 16


async def test_all_that_one_node_admitted_becomes_final_on_all(tmp_path: Path) -> None:
    """As many as every account may have pending, in blocks of 150."""
    mesh = Mesh(tmp_path, MempoolLimits(100_000, 2**26, PENDING_MAX, 150))
    await mesh.start()
    wires = [
        transfer(payer, nonce) for nonce in range(1, PENDING_MAX + 1) for payer in range(SENDERS)
    ]
    ids = await asyncio.gather(*[mesh[0].backend.submit(wire) for wire in wires])
    await mesh.until(lambda: all(member.is_final(ids) for member in mesh), 120.0)
    mesh.agree()
    for member in mesh:
        assert len(member.mempool) == member.mempool.bytes_held == 0
        assert not member.mempool.wires
        assert len(member.gossip._puller) == 0
        assert len(member.proposals.rebuilds) == 0
        assert member.gossip._entering == {}
    await mesh.stop()


async def test_what_a_small_pool_lets_go_is_said_and_the_rest_is_final(tmp_path: Path) -> None:
    """Four times what the pool of each node holds: it keeps the best paid, and says of the rest."""
    mesh = Mesh(tmp_path, MempoolLimits(100, 2**26, 64, 50))
    for member in mesh:
        member.host.stop()  # nobody makes blocks until everything has been sent
    node = mesh[0]
    ids = [
        await node.backend.submit(transfer(at % 64, 1 + at // 64, 10**6 + at)) for at in range(400)
    ]
    assert len(node.mempool) == 100
    stages = [node.backend.transaction_status(tx_id) for tx_id in ids]
    assert [status.stage for status in stages] == [Stage.DROPPED] * 300 + [Stage.PENDING] * 100
    assert stages[0].reason is not None
    assert stages[0].reason.startswith("mempool.evicted: ")
    await mesh.start()
    await mesh.until(lambda: all(member.is_final(ids[300:]) for member in mesh))
    assert node.backend.transaction_status(ids[0]).stage is Stage.DROPPED
    await mesh.stop()
