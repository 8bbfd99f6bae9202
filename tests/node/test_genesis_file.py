"""Genesis files and profiles: what they found, and what is said about wrong ones."""

import tomllib
from pathlib import Path

import pytest
from msgspec.structs import asdict

from node.addresses import format_address
from node.genesis_file import (
    CHAINS,
    GenesisInvalid,
    GenesisMissing,
    configs_folder,
    read_genesis,
    read_profile,
    write_genesis,
)
from state.codec import replace
from state.genesis import Allocation, Genesis, GenesisValidator
from state.params import Params

ONE, TWO = b"1" * 20, b"2" * 20
GENESIS = Genesis(
    'quoted " \\ \u2028 é',
    1_700_000_000_000,
    replace(Params(), fees=replace(Params().fees, burn_bps=77)),
    (Allocation(ONE, 10**15), Allocation(TWO, 5, "points")),
    (GenesisValidator(b"k" * 32, ONE, 10**12),),
)


@pytest.mark.parametrize("genesis", [GENESIS, replace(GENESIS, allocations=())])
def test_what_is_written_is_read_again(tmp_path: Path, genesis: Genesis) -> None:
    path = tmp_path / "genesis.toml"
    path.write_text(write_genesis(genesis))
    assert read_genesis(path) == genesis
    assert read_genesis(path).hash == genesis.hash
    assert format_address(ONE) in path.read_text()
    assert genesis.hash.hex() in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("chain_id = ", "chain_ib = ", "'chain_id'"),
        ("chain_id = ", "more = 1\nchain_id = ", "no 'more'"),
        ("time_ms = 17", "time_ms = -17", "'time_ms'"),
        ("time_ms = ", "time_ms = true #", "'time_ms'"),
        ("burn_bps = 77", "burn_bps = 10001", r"'params\.fees\.burn_bps'"),
        ("burn_bps = 77", "burn_bps = 7.7", r"'params\.fees\.burn_bps'"),
        ("burn_bps = 77", "burm_bps = 77", r"no 'params\.fees\.burm_bps'"),
        ("[params.fees]", "[params.fee]", r"no 'params\.fee'"),
        ("[params.fees]", "[[params.fees]]", r"'params\.fees'"),
        ("base_fee_min = 1", "base_fee_min = 2", "base_fee_start"),
        ("[[allocations]]", "[[allocation]]", "no 'allocation'"),
        ("amount = 5", "amount = 0", r"'allocations\[1\]\.amount'"),
        ("amount = 5", "# amount", r"'allocations\[1\]' .*amount"),
        ("amount = 1000000000000000", "amount = 9223372036854775807", "supply"),
        ('address = "sah1', 'address = "sah1q', r"'allocations\[0\]\.address'"),
        ('public_key = "6b', 'public_key = "', r"'validators\[0\]\.public_key'"),
        ('public_key = "6b', 'public_key = "zz', r"'validators\[0\]\.public_key'"),
        ("[[validators]]", "[founding]\nstake = 1\nbalance = 1\n[[validators]]", "founding"),
        ("[[validators]]", "[[validators]", "no TOML"),
    ],
)
def test_wrong_files_are_named_with_the_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = write_genesis(GENESIS)
    assert old in text
    path = tmp_path / "genesis.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(GenesisInvalid, match=said) as caught:
        read_genesis(path)
    assert str(path) in caught.value.sentence


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(GenesisMissing):
        read_genesis(tmp_path / "none")
    with pytest.raises(GenesisInvalid):
        read_genesis(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(GenesisInvalid, match="no TOML"):
        read_genesis(tmp_path / "bytes")


def test_genesis_without_validators_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "genesis.toml"
    path.write_text(write_genesis(replace(GENESIS, validators=())))
    with pytest.raises(GenesisInvalid, match="length >= 1"):
        read_genesis(path)


@pytest.mark.parametrize("chain", CHAINS)
def test_every_profile_holds_its_relations(chain: str) -> None:
    profile = read_profile(chain)
    assert profile.chain_id == f"sahara-{chain}"
    profile.params.check()
    assert (profile.founding is not None) == (chain == "devnet")


def test_the_mainnet_file_is_the_defaults_written_out() -> None:
    """Whoever adds or changes a default writes it into configs/chains/mainnet/params.toml."""
    path = configs_folder() / "chains" / "mainnet" / "params.toml"
    params = Params()
    expected = {
        section: {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(getattr(params, section)).items()
        }
        for section in params.__struct_fields__
    }
    assert tomllib.loads(path.read_text()) == expected
    assert read_profile("mainnet").params == params


def test_the_devnet_is_that_of_the_golden_figures() -> None:
    """The devnet profile, number by number: the golden totals of a run rest on it (markets 0a)."""
    params = read_profile("devnet").params
    split, index, futures = params.split, params.index, params.futures
    bps = (split.burn_bps, split.validators_bps, split.audit_bps, split.treasury_bps)
    assert bps == (1_000, 400, 200, 400)
    assert split.irrecoverable_ppm == 140_000
    assert (params.inference.dispute_window_blocks, params.inference.leaf_answer_blocks) == (20, 5)
    assert params.inference.claim_window_blocks == 20
    assert params.assets.price_delay_blocks == 10
    assert (params.fees.base_fee_min, params.fees.base_fee_start) == (1, 1)
    assert (index.bucket_blocks, index.claim_lag_buckets, index.winsor_history) == (5, 12, 12)
    assert index.payer_cap_units == index.provider_cap_units == 2**62
    margins = (futures.initial_margin_ppm, futures.maintenance_margin_ppm, futures.range_floor_ppm)
    assert margins == (200_000, 100_000, 100_000)
    assert (futures.band_ppm, futures.mark_clamp_ppm) == (100_000, 50_000)
    assert (futures.epoch_blocks, params.staking.epoch_blocks, futures.grace_blocks) == (10, 10, 20)
    assert (futures.listing_history_buckets, futures.open_interest_target_lots) == (0, 2_000)
    p_min, tick_index = 5 * 10**9, 1_000
    tick_value = (
        split.irrecoverable_ppm
        * p_min
        * tick_index
        // (futures.safety * 10**12 * futures.open_interest_target_lots)
    )
    assert tick_value == 175


def test_a_network_founded_by_one(tmp_path: Path) -> None:
    profile = read_profile("devnet")
    genesis = profile.founded(5, [b"k" * 32], [Allocation(ONE, 7)])
    genesis.check()
    (validator,) = genesis.validators
    assert genesis.time_ms == 5
    assert [entry.address for entry in genesis.allocations] == [validator.account, ONE]
    assert genesis.allocations[0].amount > validator.stake
    with pytest.raises(GenesisInvalid, match="--genesis"):
        read_profile("mainnet").founded(5, [b"k" * 32], [])
    with pytest.raises(GenesisInvalid, match="no chain"):
        read_profile("../devnet")


def test_a_founder_below_the_self_bond_is_refused(tmp_path: Path) -> None:
    """It would lose its seat in the first set that others can fill."""
    least = Params().staking.self_bond_min
    for stake in (least - 1, least):
        founder = replace(GENESIS.validators[0], stake=stake)
        path = tmp_path / f"{stake}.toml"
        path.write_text(write_genesis(replace(GENESIS, validators=(founder,))))
        if stake < least:
            with pytest.raises(GenesisInvalid, match="self_bond_min"):
                read_genesis(path)
        else:
            assert read_genesis(path).validators == (founder,)
