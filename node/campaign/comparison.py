"""Holding a node against all others in the end: every header, every promise, every accusation."""

from node.campaign.findings import Findings
from node.campaign.ledger import Ledger
from node.campaign.load import hold_to_promises
from node.campaign.member import Member
from node.campaign.offences import find_offences
from node.campaign.watcher import Watcher
from node.client import ClientError


async def compare(member: Member, watcher: Watcher, ledger: Ledger, findings: Findings) -> int:
    """Hold a node against all others; return how many acknowledged transfers it was asked about.

    That it does not answer is found wrong.
    """
    chain = watcher.chain
    try:
        status = await member.client.status()
        height = status.finalized_height
        chain.head(member.index, height, status.block_id, status.state_root)
        while chain.next_of(member.index) <= height:
            await watcher.read_headers(member, height)
        chain.begins_at(member.index, status.lowest_height)
        await find_offences(member, findings)
        return await hold_to_promises(member, ledger, status.lowest_height)
    except ClientError as error:
        sentence = f"Node {member.index} answers no more: {error.sentence}"
        findings.add("campaign.silent", str(member.index), sentence)
        return 0
