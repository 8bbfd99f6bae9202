"""Tags of this module's transactions: on the wire for ever, so a change here is a decision."""

from state.modules.inference import MODULE

TAGS = {
    "OpenChannel": 0x0501,
    "TopUp": 0x0502,
    "UniClose": 0x0503,
    "CoopClose": 0x0504,
    "AddLane": 0x0505,
    "CloseLane": 0x0506,
    "ClaimBatch": 0x0510,
    "ProveReceipt": 0x0520,
    "DisputeLeaf": 0x0521,
    "ProveEquivocation": 0x0522,
    "RefundEquivocation": 0x0523,
    "DemandLeaf": 0x0524,
    "AnswerLeaf": 0x0525,
    "OperatorBond": 0x0530,
    "OperatorUnbond": 0x0531,
    "DirectInferOpen": 0x0540,
    "DirectInferClose": 0x0541,
}


def test_tags_are_pinned() -> None:
    assert {each.__name__: each.__struct_config__.tag for each in MODULE.messages} == TAGS
