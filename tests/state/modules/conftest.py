"""A catalogue of models and datasets for tests of the modules that use them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from state.modules.datasets.pools import contributors_root
from state.modules.datasets.records import ConsentBasis, Content, Modality
from state.modules.datasets.txs import AppendDataset, RegisterDataset
from state.modules.models.prices import PostPrice
from state.modules.models.records import Artefact, DatasetUse, Parent, Split, Status
from state.modules.models.txs import AddVersion, RegisterModel, SetStatus
from state.types import ZERO_HASH

PLAIN = Split(6_000, 4_000)
"""Operator and developer share the net."""


class Catalogue:
    """Registers assets on a chain with as few words as possible; accounts are numbered."""

    def __init__(self, chain: Any) -> None:
        self.chain = chain
        self._roots = 0

    def content(self, contributors: Sequence[tuple[int, int]], **changes: Any) -> Content:
        """Return what a dataset version says, with a root of its own; pairs (account, weight)."""
        self._roots += 1
        named = [(self.chain.address(account), weight) for account, weight in contributors]
        facts: dict[str, Any] = {
            "root": self._roots.to_bytes(32, "big"),
            "rows": 1_000,
            "size_bytes": 10**6,
            "schema_hash": ZERO_HASH,
            "datasheet_hash": ZERO_HASH,
            "modality": Modality.TEXT,
            "licence_terms_id": ZERO_HASH,
            "contributors_root": contributors_root(named),
            "contributors_count": len(named),
            "total_weight": sum(weight for _, weight in named),
            "consent_basis": ConsentBasis.CONSENT,
        }
        return Content(**{**facts, **changes})

    def dataset(
        self, owner: int = 0, contributors: Sequence[tuple[int, int]] = ((0, 1),), **changes: Any
    ) -> bytes:
        """Register a dataset and return its id."""
        events = self.chain.accept(RegisterDataset(self.content(contributors, **changes)), by=owner)
        dataset: bytes = events[0][1]
        return dataset

    def append(
        self, dataset: bytes, owner: int = 0, contributors: Sequence[tuple[int, int]] = ((0, 1),)
    ) -> None:
        """Add a version to a dataset."""
        self.chain.accept(AppendDataset(dataset, self.content(contributors)), by=owner)

    def draft(self, owner: int = 0, **fields: Any) -> bytes:
        """Register a model without versions and return its id."""
        events = self.chain.accept(RegisterModel("model", **fields), by=owner)
        model: bytes = events[0][1]
        return model

    def model(
        self,
        owner: int = 0,
        split: Split = PLAIN,
        *,
        parents: Sequence[Parent] = (),
        datasets: Sequence[DatasetUse] = (),
        derivative_bps: int = 500,
        **fields: Any,
    ) -> bytes:
        """Register a model, add its version 1, list it, and return its id."""
        model = self.draft(owner, **fields)
        self.chain.accept(
            add_version(model, split, parents, datasets, derivative_bps),
            SetStatus(model, Status.LISTED),
            by=owner,
        )
        return model

    def price(self, model: bytes, operator: int = 0, *asked: int, version: int = 1) -> int:
        """Post a price (in, cached, out, call), wait until it is effective, return its number."""
        in_, cached, out, call = asked or (5_000_000_000, 500_000_000, 20_000_000_000, 0)
        events = self.chain.accept(PostPrice(model, version, in_, cached, out, call), by=operator)
        self.chain.end_block(self.chain.genesis.params.assets.price_delay_blocks)
        price_id: int = events[0][3]
        return price_id


def add_version(
    model: bytes,
    split: Split = PLAIN,
    parents: Sequence[Parent] = (),
    datasets: Sequence[DatasetUse] = (),
    derivative_bps: int = 500,
) -> AddVersion:
    """Return the message that adds a plain version to a model."""
    artefact = Artefact(bytes([9]) * 32, 10**9, framework="pytorch", file_format="safetensors")
    return AddVersion(model, artefact, split, tuple(parents), tuple(datasets), derivative_bps)


@pytest.fixture(scope="session")
def make_catalogue() -> type[Catalogue]:
    """The class, for chains that a test makes itself."""
    return Catalogue


@pytest.fixture
def catalogue(chain: Any) -> Catalogue:
    """A catalogue on the fixture `chain`."""
    return Catalogue(chain)


@pytest.fixture(scope="session")
def version_message() -> Callable[..., AddVersion]:
    """The function that makes the message of a plain version."""
    return add_version
