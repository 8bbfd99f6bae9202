"""Why the staking module refuses: one leaf a reason, each with a stable code."""

from state.errors import NotFound, Rejected


class UnknownValidator(NotFound):
    """No validator runs under this account."""

    code = "staking.unknown_validator"


class TooSmall(Rejected):
    """A delegation below the minimum would cost more state than it secures."""

    code = "staking.too_small"


class NotDelegated(Rejected):
    """The account has delegated less than it wants back."""

    code = "staking.not_delegated"


class TooManyUnbondings(Rejected):
    """The account has as many unbondings under way as one may have."""

    code = "staking.too_many_unbondings"


class TooManyRedelegations(Rejected):
    """The account has as many redelegations under way as one may have."""

    code = "staking.too_many_redelegations"


class RedelegationUnderWay(Rejected):
    """Stake that came from another validator may not hop on before it no longer answers for it."""

    code = "staking.redelegation_under_way"


class SameValidator(Rejected):
    """Stake was to move to where it is."""

    code = "staking.same_validator"


class AlreadyValidator(Rejected):
    """The account runs a validator already, or did."""

    code = "staking.already_validator"


class KeyTaken(Rejected):
    """A consensus key serves one validator, for ever."""

    code = "staking.key_taken"


class NotTheAccount(Rejected):
    """The proof of possession names another account than the one that signs."""

    code = "staking.not_the_account"


class SelfBondTooSmall(Rejected):
    """A validator stands for less of its own than the minimum."""

    code = "staking.self_bond_too_small"


class CommissionTooFast(Rejected):
    """The commission was to change by more, or sooner, than the validator promised."""

    code = "staking.commission_too_fast"


class NotJailed(Rejected):
    """The validator is not in jail."""

    code = "staking.not_jailed"


class JailLasts(Rejected):
    """The jail time is not over."""

    code = "staking.jail_lasts"


class Tombstoned(Rejected):
    """The validator was slashed, and is out for ever."""

    code = "staking.tombstoned"


class EvidenceTooOld(Rejected):
    """The stake that would have to answer may be gone."""

    code = "staking.evidence_too_old"


class EvidenceInvalid(Rejected):
    """The evidence does not prove an offence of a validator of that epoch."""

    code = "staking.evidence_invalid"


class EvidenceKnown(Rejected):
    """The offence is on record, or enough others of the same validator are."""

    code = "staking.evidence_known"
