"""The zoo: every way in which a Byzantine validator of the simulator departs from the protocol."""

from node.sim.byzantine.actor import Behaviour
from node.sim.byzantine.double_voter import DoubleVoter
from node.sim.byzantine.equivocator import Equivocator
from node.sim.byzantine.garbage import Garbage
from node.sim.byzantine.hoarder import Hoarder
from node.sim.byzantine.liar import Liar
from node.sim.byzantine.minority import Minority
from node.sim.byzantine.nullify_finalize import NullifyFinalize
from node.sim.byzantine.silent import Silent
from node.sim.byzantine.skipper import Skipper
from node.sim.byzantine.splitter import Splitter
from node.sim.byzantine.stale import Stale
from node.sim.byzantine.tempter import Tempter
from node.sim.byzantine.twins import Twin
from node.sim.byzantine.withholder import Withholder
from node.sim.byzantine.wrong_epoch import WrongEpoch

KINDS: dict[str, type[Behaviour]] = {
    "equivocator": Equivocator,
    "double-voter": DoubleVoter,
    "nullify-finalize": NullifyFinalize,
    "withholder": Withholder,
    "silent": Silent,
    "stale": Stale,
    "wrong-epoch": WrongEpoch,
    "garbage": Garbage,
    "hoarder": Hoarder,
    "twins": Twin,
    "splitter": Splitter,
    "tempter": Tempter,
    "liar": Liar,
    "minority": Minority,
    "skipper": Skipper,
}
"""Every kind by the name that `--byzantine` takes."""
