"""The one chain, as all nodes together tell it: whatever two tell differently is a fork."""

from node.campaign.findings import Findings
from state.types import Hash


class ChainRecord:
    """Block ids and state roots by height, and how far each node has told them."""

    def __init__(self, findings: Findings) -> None:
        self.times_ms: dict[int, int] = {}
        """When each block was proposed, by its header."""
        self._findings = findings
        self._ids: dict[int, tuple[Hash, int]] = {}
        self._roots: dict[int, tuple[Hash, int]] = {}
        self._told: dict[int, int] = {}
        self._final: dict[int, int] = {}
        self._lowest: dict[int, int] = {}
        self._skipped: dict[int, set[int]] = {}
        self._wiped: set[int] = set()

    def __len__(self) -> int:
        """Return how many blocks are known."""
        return len(self._ids)

    def header(self, node: int, height: int, block_id: Hash, time_ms: int, root: Hash) -> None:
        """Take in a final header as a node tells it, with the root after the block before."""
        self.times_ms.setdefault(height, time_ms)
        self._compare("block", self._ids, node, height, block_id)
        self._compare("state", self._roots, node, height - 1, root)
        self._told[node] = max(height, self._told.get(node, 0))

    def head(self, node: int, height: int, block_id: Hash, root: Hash) -> None:
        """Take in a node's last final block, and the root after it."""
        before = self._final.get(node, 0)
        if height < before:
            self._findings.add(
                "campaign.taken_back",
                f"{node}:{before}",
                f"Node {node} had height {before} final, and now has {height}.",
            )
        self._final[node] = height
        if height:
            self._compare("block", self._ids, node, height, block_id)
        self._compare("state", self._roots, node, height, root)

    def forget(self, node: int) -> None:
        """Let a node tell everything anew: it has lost its disk."""
        self._told.pop(node, None)
        self._final.pop(node, None)
        self._lowest.pop(node, None)
        self._skipped.pop(node, None)
        self._wiped.add(node)

    def next_of(self, node: int) -> int:
        """Return the lowest height that a node has not told."""
        return self._told.get(node, 0) + 1

    def lowest_of(self, node: int) -> int:
        """Return the lowest height from which a node said that it holds every block."""
        return self._lowest.get(node, 1)

    def begins_at(self, node: int, height: int) -> None:
        """Take in from which height on a node says that it holds every block; hold it to that.

        Only who lost its disk may have begun with a snapshot above the first.
        """
        self._lowest[node] = height
        if height > 1 and node not in self._wiped:
            self._hole(
                node,
                height,
                f"Node {node} holds no block below {height}, though its disk was never taken away.",
            )
        if height > self._final.get(node, 0) + 1:
            self._hole(
                node,
                height,
                f"Node {node} has height {self._final.get(node, 0)} final, and says that it holds "
                f"blocks from {height} on.",
            )
        missing = [each for each in self._skipped.get(node, ()) if each >= height]
        if missing:
            self._hole(
                node,
                min(missing),
                f"Node {node} says that it holds every block from {height} on, and has no header "
                f"of height {min(missing)}, nor of {len(missing) - 1} others.",
            )

    def skip(self, node: int, height: int) -> None:
        """Ask a node for nothing up to a height: it has no header of that one."""
        self._skipped.setdefault(node, set()).add(height)
        self._told[node] = max(height, self._told.get(node, 0))

    def _hole(self, node: int, height: int, sentence: str) -> None:
        self._findings.add("campaign.hole", f"{node}:{height}", sentence)

    def _compare(
        self, what: str, known: dict[int, tuple[Hash, int]], node: int, height: int, told: Hash
    ) -> None:
        first, by = known.setdefault(height, (told, node))
        if first != told:
            self._findings.add(
                "campaign.fork",
                f"{what}:{height}:{node}",
                f"At height {height} node {node} tells {what} {told.hex()[:16]}, and node {by} "
                f"{first.hex()[:16]}.",
            )
