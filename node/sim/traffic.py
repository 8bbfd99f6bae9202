"""Transactions of simulated users: coins and stake move, validators come and go, all else is tried.

What is in a block follows from the state below it and the salt of its leader. What users do to
stakes of their own accord leaves honest validators a share that absence will not easily take below
a quorum; jail and slashing change sets besides. A failed outcome is as good as any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from msgspec import inspect

from node.bodies import VerifiedWires
from node.client.accounts import Account
from node.sim.drawing import Draw
from node.sim.elections import Elections
from node.sim.scenario import Scenario
from node.sim.signatures import Scheme
from node.sim.stakers import PAYERS, payer, staker
from state.context import QueryContext
from state.errors import Rejected
from state.execute import check_static
from state.finality import Evidence, offender, votes_of
from state.modules import chain, staking
from state.modules.all import MESSAGES
from state.modules.bank import Transfer
from state.modules.staking.queries import ValidatorView, validators
from state.modules.staking.records import DELEGATIONS, Standing
from state.nonces import FRESH
from state.params import FeeParams
from state.registry import Message
from state.tables import State
from state.transaction import Body, Transaction, TransactionDecoder
from state.types import Address, Hash

TRANSACTIONS_MAX = 4
VALIDITY_BLOCKS = 50
FEE_MAX = 10**6
AMOUNT_MAX = 10**6

OTHER_MESSAGES = tuple(each for each in MESSAGES if each not in staking.MODULE.messages)

Sent = tuple[Account, Message]


@dataclass
class View:
    """The state below a block, as users see it, with what the block has changed of stakes."""

    state: State
    height: int
    chance: Random
    validators: dict[Address, ValidatorView]
    change: dict[Address, int] = field(default_factory=dict)

    def stake(self, account: Address) -> int:
        """Return the stake of a validator that may be elected, 0 of any other."""
        found = self.validators.get(account)
        if found is None or found.standing != Standing.ACTIVE or found.self_bond < 1:
            return 0
        return found.stake + self.change.get(account, 0)


class Traffic:
    """Makes the transactions of blocks, and notes that their signatures hold."""

    def __init__(
        self,
        scenario: Scenario,
        scheme: Scheme,
        elections: Elections,
        genesis_hash: Hash,
        signed: VerifiedWires,
    ) -> None:
        self._scenario = scenario
        self._scheme = scheme
        self._elections = elections
        self._genesis_hash = genesis_hash
        self._signed = signed
        self._fees = FeeParams()
        self._decoder = TransactionDecoder(MESSAGES, genesis_hash)
        self._payers = [payer(number) for number in range(PAYERS)]
        self._stakers = [staker(number) for number in range(len(scenario.stakes))]
        self._known = [one.address for one in (*self._payers, *self._stakers)]
        self._makers: list[tuple[int, Callable[[View], Sent | None]]] = [
            (4, self._transfer),
            (3, self._delegate),
            (2, self._undelegate),
            (2, self._redelegate),
            (2, self._claim),
            (1, self._edit),
            (2, self._leave),
            (5, self._come),
            (4, self._anything),
        ]

    def make(
        self, state: State, height: int, chance: Random, reports: Sequence[Evidence] = ()
    ) -> list[Transaction]:
        """Return signed transactions for a block over a state, with reports of evidence."""
        ctx = QueryContext(state, height, 0, chain.params_of(state), self._genesis_hash)
        view = View(state, height, chance, {each.account: each for each in validators(ctx)})
        sent: list[Sent | None] = [self._report(view, evidence) for evidence in reports]
        weights = [weight for weight, _ in self._makers]
        for _ in range(chance.randint(0, TRANSACTIONS_MAX)):
            _, make = chance.choices(self._makers, weights)[0]
            sent.append(make(view))
        spoken: set[Address] = set()
        made: list[Transaction] = []
        for account, message in [each for each in sent if each is not None]:
            if account.address not in spoken:  # one nonce is one transaction
                spoken.add(account.address)
                made += self._signed_by(view, account, message)
        return made

    def _signed_by(self, view: View, account: Account, message: Message) -> list[Transaction]:
        window = chain.NONCES.get(view.state, account.address) or FRESH
        until = view.height + VALIDITY_BLOCKS
        body = Body(account.address, window.high + 1, until, FEE_MAX, (message,))
        wire, _ = account.sign_body(body, self._genesis_hash)
        try:
            made = self._decoder.decode(wire, bytes_max=self._fees.transaction_bytes_max)
            check_static(made, self._fees)
        except Rejected:
            return []  # no leader takes what breaks a static rule
        self._signed.add(wire)
        return [made]

    # --- coins and stake ------------------------------------------------------------------------

    def _transfer(self, view: View) -> Sent | None:
        to = view.chance.choice(self._known)
        return view.chance.choice(self._payers), Transfer(to, self._amount(view))

    def _amount(self, view: View) -> int:
        """Draw an amount about as large as stakes are."""
        most = max([each.stake for each in view.validators.values()], default=AMOUNT_MAX)
        return view.chance.randint(1, max(1, most // 4))

    def _delegate(self, view: View) -> Sent | None:
        to, amount = view.chance.choice(self._stakers), self._amount(view)
        if not self._may(view, to.address, amount):
            return None
        return view.chance.choice(self._payers), staking.Delegate(to.address, amount)

    def _held(self, view: View, who: Account) -> tuple[Address, int]:
        """Return a validator with whom an account has stake, and how much of it to move."""
        rows = DELEGATIONS.scan(view.state, under=(who.address,))
        held = [(account, row.shares) for (_, account), row in rows if row.shares]
        if not held:
            return view.chance.choice(self._stakers).address, self._amount(view)
        account, shares = view.chance.choice(held)
        return account, view.chance.randint(1, shares)

    def _undelegate(self, view: View) -> Sent | None:
        who = view.chance.choice(self._payers)
        account, amount = self._held(view, who)
        if not self._may(view, account, -amount):
            return None
        return who, staking.Undelegate(account, amount)

    def _redelegate(self, view: View) -> Sent | None:
        who, to = view.chance.choice(self._payers), view.chance.choice(self._stakers).address
        source, amount = self._held(view, who)
        if not (self._may(view, source, -amount) and self._may(view, to, amount)):
            return None
        return who, staking.Redelegate(source, to, amount)

    def _claim(self, view: View) -> Sent | None:
        of = view.chance.choice(self._stakers)
        return view.chance.choice([*self._payers, of]), staking.ClaimRewards(of.address)

    # --- validators -----------------------------------------------------------------------------

    def _edit(self, view: View) -> Sent | None:
        who = view.chance.choice(self._stakers)
        found = view.validators.get(who.address)
        now = 1_000 if found is None else found.commission_bps
        return who, staking.EditValidator(now + view.chance.randint(0, 120), f"v{view.height}")

    def _leave(self, view: View) -> Sent | None:
        """Take the whole self-bond back: the validator stands for no further set."""
        who = view.chance.choice(self._stakers)
        found = view.validators.get(who.address)
        if found is None or not self._may(view, who.address, -view.stake(who.address)):
            return None
        return who, staking.Undelegate(who.address, max(1, found.self_bond))

    def _come(self, view: View) -> Sent | None:
        """Enter as a validator, come back from jail, or bond what was taken back."""
        number = view.chance.randrange(len(self._stakers))
        who, stake = self._stakers[number], self._scenario.stakes[number]
        found = view.validators.get(who.address)
        if found is None:
            return self._create(number) if self._may(view, who.address, stake) else None
        if found.standing == Standing.JAILED:
            return (who, staking.Unjail()) if self._may(view, who.address, found.stake) else None
        if found.self_bond >= stake or not self._may(view, who.address, found.stake + stake):
            return None
        return who, staking.Delegate(who.address, stake)

    def _create(self, number: int) -> Sent:
        who = self._stakers[number]
        digest = staking.possession_digest(self._genesis_hash, who.address)
        key, proof = self._scheme.keys[number], self._scheme.signers[number](digest)
        stake = self._scenario.stakes[number]
        return who, staking.CreateValidator(who.address, key, proof, stake, 1_000, 100)

    def _may(self, view: View, account: Address, change: int) -> bool:
        """Tell whether honest voters have three quarters of the stake after this, or gain by it."""
        able = total = before = before_total = 0
        out = self._elections.lost | set(self._scenario.byzantine)
        for number, one in enumerate(self._stakers):
            stake = view.stake(one.address)
            after = max(0, stake + change) if one.address == account else stake
            total, before_total = total + after, before_total + stake
            if number not in out:
                able, before = able + after, before + stake
        if 4 * able >= 3 * total or able * before_total >= before * total:
            view.change[account] = view.change.get(account, 0) + change
            return True
        return False

    # --- everything else ------------------------------------------------------------------------

    def _anything(self, view: View) -> Sent | None:
        """Draw any message of the other modules; signatures inside of one are nobody's to make."""
        draw = Draw(str(view.chance.random()), self._known)
        message: Message = draw.value(inspect.type_info(view.chance.choice(OTHER_MESSAGES)))
        if message.claims(self._genesis_hash):
            return None
        return view.chance.choice(self._payers), message

    def _report(self, view: View, evidence: Evidence) -> Sent:
        """Report an offence by transaction."""
        epoch = votes_of(evidence)[0].subject.epoch
        accused = staking.members_of(view.state, epoch)[offender(evidence)]
        message = staking.SubmitEvidence(epoch, accused.public_key, evidence)
        return view.chance.choice(self._payers), message
