"""Regions of the world and the one-way delays between them, for simulations over a wide network.

The figures are half of typical round trips between large data centres of those places, rounded to
the millisecond; they are a fixed model, not a measurement of any provider.
"""

REGIONS = (
    "virginia",
    "oregon",
    "sao-paulo",
    "ireland",
    "frankfurt",
    "cape-town",
    "bahrain",
    "mumbai",
    "singapore",
    "tokyo",
    "sydney",
)

WITHIN_REGION_MS = 0.5

_ABOVE_DIAGONAL_MS = (
    (33, 57, 34, 46, 113, 83, 94, 109, 74, 99),
    (88, 62, 73, 138, 113, 110, 82, 49, 70),
    (89, 102, 170, 133, 150, 163, 128, 156),
    (13, 80, 46, 61, 88, 101, 128),
    (78, 43, 59, 80, 113, 125),
    (95, 123, 138, 178, 200),
    (18, 48, 83, 95),
    (29, 61, 74),
    (35, 46),
    (53,),
)


def one_way_ms() -> list[list[float]]:
    """Return the symmetric matrix of one-way delays, in the order of REGIONS."""
    count = len(REGIONS)
    matrix = [[WITHIN_REGION_MS] * count for _ in range(count)]
    for row, delays in enumerate(_ABOVE_DIAGONAL_MS):
        for offset, delay_ms in enumerate(delays, start=row + 1):
            matrix[row][offset] = matrix[offset][row] = float(delay_ms)
    return matrix


assert len(REGIONS) >= 10, "a wide network has at least ten places"
assert [len(row) for row in _ABOVE_DIAGONAL_MS] == list(range(len(REGIONS) - 1, 0, -1))
