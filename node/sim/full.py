"""The application of `--app full`: the whole state machine, with all its invariants, in every node.

Payers send each other coins; which and how much follows from the salt of whoever builds the block.
Unfinal blocks are layers over their parents, in state and tree alike, as in a real node.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from random import Random

from consensus.effects import BuildBlock, ExecuteBlock
from consensus.settings import Judgement
from node.client.accounts import Account
from node.sim.machine import Built, Executed, Machine
from node.sim.scenario import Options
from state import block, transaction
from state.block import check_body
from state.codec import encode
from state.crypto import Tag, hash_bytes
from state.errors import InvalidBlock, Malformed
from state.execute import apply_block, apply_genesis, block_input, check_block, check_over_parent
from state.finality import Header, ValidatorSet
from state.genesis import Allocation, Genesis, GenesisValidator
from state.modules.all import MESSAGES
from state.modules.bank import Transfer
from state.params import Params
from state.tables import Base, State
from state.transaction import Transaction, TransactionDecoder
from state.tree import Tree
from state.types import Hash

PAYERS = 8
FUNDS = 10**15
TRANSACTIONS_MAX = 4
VALIDITY_BLOCKS = 50
FEE_MAX = 10**6

ACCOUNTS = tuple(Account.from_seed(index.to_bytes(32, "big")) for index in range(1, PAYERS + 1))
ADDRESSES = tuple(account.address for account in ACCOUNTS)


class _Rows:
    """Final rows, and pages of the tree, in memory."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return what is stored under a key."""
        return self.data.get(key)

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield what is stored within a range, in the order of keys."""
        for key in sorted(key for key in self.data if start <= key < stop):
            yield key, self.data[key]

    def write(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """Store and delete."""
        for key, value in changes:
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value


def make_genesis(members: ValidatorSet) -> Genesis:
    """Return a network of payers, and as many validators as the run has."""
    stakers = [Allocation(member.account, member.stake) for member in members]
    validators = [
        GenesisValidator(
            Account.from_seed(member.account.ljust(32, b"v")).public_key,
            member.account,
            member.stake,
        )
        for member in members
    ]
    allocations = tuple([*(Allocation(address, FUNDS) for address in ADDRESSES), *stakers])
    return Genesis("simulation", 0, Params(), allocations, tuple(validators))


class FullMachine:
    """The state machine of one simulated node."""

    def __init__(self, genesis: Genesis, genesis_id: Hash) -> None:
        self._genesis_hash = genesis.hash
        self._params = genesis.params
        self._decoder = TransactionDecoder(MESSAGES, self._genesis_hash)
        self._rows, self._pages = _Rows(), _Rows()
        self._base = Base(self._rows)
        first = apply_genesis(self._base, genesis)
        self._final_id = genesis_id
        self._layers: dict[Hash, State] = {genesis_id: first}
        empty = bytes(32)
        self._tree = Tree(self._pages, empty, empty)
        self._tree.update(empty, genesis_id, first.changes())
        self._keep(genesis_id)

    def genesis(self) -> Executed:
        """Return what genesis gives; asked for before anything was executed."""
        return Executed(True, self._tree.root_of(self._final_id), block.Result((), ()).root)

    def build(self, wanted: BuildBlock, salt: bytes) -> Built:
        """Choose some transfers."""
        return self._built(wanted.height, salt)

    def rival(self, header: Header, salt: bytes) -> Built:
        """Return another body that would fit the same header."""
        return self._built(header.height, salt)

    def _built(self, height: int, salt: bytes) -> Built:
        body = block.Body(make_transfers(self._genesis_hash, height, salt))
        params_hash = hash_bytes(Tag.PARAMS, encode(self._params))
        return Built(encode(body), body.root, body.evidence_root, params_hash)

    def judge(self, header: Header, body: bytes) -> Judgement:
        """Hold a body against its header and the static rules."""
        try:
            decoded = block.bodies.decode(body)
            check_body(decoded, header)
        except (Malformed, InvalidBlock):
            return Judgement.FOREIGN
        return Judgement.VALID if self._checked(decoded) is not None else Judgement.INVALID

    def _checked(self, body: block.Body) -> list[Transaction] | None:
        try:
            return check_block(body.transactions, self._decoder, self._params.fees, {})
        except InvalidBlock:
            return None

    def judge_over_parent(self, header: Header, block_id: Hash, body: bytes) -> bool:
        """Tell whether a block may be executed over its parent."""
        below, decoded = self._layers[header.parent_id], block.bodies.decode(body)
        try:
            check_over_parent(below, header, decoded, self._genesis_hash)
        except InvalidBlock:
            return False
        return True

    def execute(self, wanted: ExecuteBlock) -> Executed:
        """Execute a block over its parent, with every invariant."""
        header = wanted.header
        if not self.judge_over_parent(header, wanted.block_id, wanted.body):
            return Executed(False)
        body = block.bodies.decode(wanted.body)
        transactions = self._checked(body)
        assert transactions is not None, "a body is judged before it is executed"
        given = block_input(header, wanted.justify, body, transactions)
        below = self._layers[header.parent_id]
        done = apply_block(below, given, self._genesis_hash, every_invariant=True)
        if wanted.block_id not in self._layers:
            self._tree.update(header.parent_id, wanted.block_id, done.state.changes())
            self._layers[wanted.block_id] = done.state
        root = self._tree.root_of(wanted.block_id)
        return Executed(True, root, done.result.root, bool(transactions))

    def commit(self, header: Header, block_id: Hash) -> None:
        """Make a layer final: the one below it joins the stored rows."""
        assert header.parent_id == self._final_id, "blocks become final in order"
        before, after = self._layers[self._final_id], self._layers[block_id]
        self._rows.write(before.changes())
        self._base.absorb(before.rows)
        after.below = self._base
        self._final_id = block_id
        self._keep(block_id)
        self._drop(header.parent_id)

    def _keep(self, block_id: Hash) -> None:
        puts, deletes = self._tree.commit(block_id)
        self._pages.write([*puts, *((key, None) for key in deletes)])

    def _drop(self, parent_id: Hash) -> None:
        """Forget the former head, and every layer that does not stand on the present one."""
        del self._layers[parent_id]
        kept: dict[Hash, State] = {}
        for block_id, layer in self._layers.items():
            below: State | Base = layer
            while isinstance(below, State) and below is not self._layers[self._final_id]:
                below = below.below
            if below is self._layers[self._final_id]:
                kept[block_id] = layer
        self._layers = kept

    def restart(self) -> None:
        """Keep the final layer only."""
        for block_id in [key for key in self._layers if key != self._final_id]:
            try:
                self._tree.discard(block_id)
            except KeyError:
                continue  # it stood on a layer that was discarded before it
        self._layers = {self._final_id: self._layers[self._final_id]}


@lru_cache(maxsize=1_024)
def make_transfers(genesis_hash: Hash, height: int, salt: bytes) -> tuple[bytes, ...]:
    """Return signed transfers for a block; each payer sends at most one, numbered by height."""
    chance = Random(salt)
    wires = []
    for payer in chance.sample(range(PAYERS), chance.randint(0, TRANSACTIONS_MAX)):
        message = Transfer(ADDRESSES[chance.randrange(PAYERS)], chance.randint(1, 10**6))
        body = transaction.Body(
            ADDRESSES[payer], height, height + VALIDITY_BLOCKS, FEE_MAX, (message,)
        )
        wire, _ = ACCOUNTS[payer].sign_body(body, genesis_hash)
        wires.append(wire)
    return tuple(wires)


def full_machines(_: Options, members: ValidatorSet) -> tuple[Executed, Callable[[Hash], Machine]]:
    """Return what genesis gives, and how a node's state machine is made."""
    genesis = make_genesis(members)
    probe = FullMachine(genesis, hash_bytes(Tag.GENESIS, b"before"))
    return probe.genesis(), lambda genesis_id: FullMachine(genesis, genesis_id)
