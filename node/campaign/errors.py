"""What can keep a campaign from being run, each with a stable code and a sentence."""

from typing import ClassVar

from node.errors import NodeError


class CampaignError(NodeError):
    """A campaign cannot do what was asked; nothing is said of the network."""

    code: ClassVar[str] = "campaign.error"


class NamespacesRefused(CampaignError):
    """This user or machine may not make network namespaces."""

    code: ClassVar[str] = "campaign.namespaces_refused"


class NetworkLost(CampaignError):
    """The process that carries packets between the nodes has ended."""

    code: ClassVar[str] = "campaign.network_lost"


class NeverBegan(CampaignError):
    """The nodes made no first block together."""

    code: ClassVar[str] = "campaign.never_began"
