"""Proofs of the state tree, compiled: made by walking down pages, checked by hashing up again."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memset

from cython_ext._sodium cimport hash_tagged
from cython_ext._tree cimport (
    CHILD,
    HASH_SIZE,
    KEY,
    LEAF,
    LEAVES_MAX,
    LEVELS,
    NODE,
    PACKED_SIZE,
    PAGE_LEVELS,
    SLOTS,
    STORED_LEAF_SIZE,
    Leaf,
    bit,
    find_page,
    hash_entry,
    hash_subtree,
    is_empty,
    key_of_page,
    packed_hash,
    weigh,
)

# The siblings met on the way down to a path.
ctypedef struct Walk:
    uint8_t path[HASH_SIZE]
    uint8_t siblings[LEVELS][HASH_SIZE]
    int levels


cdef const Leaf *_through_leaves(Walk *walk, const Leaf *first, int count) noexcept nogil:
    """Go down a slot's leaves until at most one is left; NULL when none is."""
    cdef const Leaf *leaves[LEAVES_MAX]
    cdef int index, middle, side
    for index in range(count):
        leaves[index] = first + index
    cdef const Leaf **kept = leaves
    while count > 1:
        middle = 0
        while middle < count and not bit(kept[middle].path, walk.levels):
            middle += 1
        side = bit(walk.path, walk.levels)
        walk.levels += 1
        if side:
            hash_subtree(walk.siblings[walk.levels - 1], kept, middle, walk.levels)
            kept += middle
            count -= middle
        else:
            hash_subtree(
                walk.siblings[walk.levels - 1], kept + middle, count - middle, walk.levels
            )
            count = middle
    return kept[0] if count else NULL


cdef const uint8_t *_through_page(
    Walk *walk, const uint8_t *page, const Leaf **end
) noexcept nogil:
    """Go down a page: the child's hash, or NULL with `end` the leaf met there, if any."""
    cdef uint8_t weights[2 * SLOTS]
    cdef int index = 1, slot
    cdef const Leaf *first = <const Leaf *> (page + PACKED_SIZE)
    weigh(weights, page)
    while index < SLOTS and weights[index] > 1:
        index = 2 * index + bit(walk.path, walk.levels)
        memcpy(walk.siblings[walk.levels], packed_hash(page, index ^ 1), HASH_SIZE)
        walk.levels += 1
    while index < SLOTS:
        index = 2 * index + (weights[2 * index] == 0)
    if page[index - SLOTS] == CHILD:
        return packed_hash(page, index)
    for slot in range(index - SLOTS):
        if page[slot] != CHILD:
            first += page[slot]
    end[0] = _through_leaves(walk, first, page[index - SLOTS])
    return NULL


def prove(list overlays, fetch, bytes root, bytes key):
    """The depth, the bitmap of siblings that are not empty, those siblings, another key's leaf."""
    cdef Walk walk
    cdef const Leaf *end = NULL
    cdef bytes expected = root
    cdef const uint8_t *child
    cdef list held = [], siblings = []
    cdef int level = 0
    cdef bytearray bitmap
    hash_tagged(walk.path, &KEY, <const uint8_t *> PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    walk.levels = 0
    while root != bytes(HASH_SIZE):
        child = _through_page(
            &walk,
            find_page(overlays, fetch, held, key_of_page(level, walk.path), expected),
            &end,
        )
        if child == NULL:
            break
        expected = child[:HASH_SIZE]
        level += PAGE_LEVELS
    bitmap = bytearray((walk.levels + 7) >> 3)
    for level in range(walk.levels):
        if not is_empty(walk.siblings[level]):
            bitmap[level >> 3] |= 0x80 >> (level & 7)
            siblings.append((<const uint8_t *> walk.siblings[level])[:HASH_SIZE])
    leaf = b""
    if end != NULL and memcmp(end.path, walk.path, HASH_SIZE) != 0:
        leaf = (<const uint8_t *> end.path)[:STORED_LEAF_SIZE]
    return walk.levels, bytes(bitmap), b"".join(siblings), leaf


cdef bint _end_of_proof(uint8_t *out, const Leaf *entry, bint present, bytes leaf):
    """Set the hash that a proof starts from; false where its leaf does not belong there."""
    cdef Leaf other
    if present:
        memcpy(out, entry.hash, HASH_SIZE)
        return len(leaf) == 0
    if len(leaf) == 0:
        memset(out, 0, HASH_SIZE)
        return True
    if len(leaf) != STORED_LEAF_SIZE:
        return False
    memcpy(other.path, <const uint8_t *> PyBytes_AS_STRING(leaf), STORED_LEAF_SIZE)
    hash_tagged(out, &LEAF, other.path, STORED_LEAF_SIZE)
    # That it shares the key's path so far needs no check: its hash stands in the key's place.
    return memcmp(other.path, entry.path, HASH_SIZE) != 0


def verify(
    bytes root, bytes key, bytes value, int depth, bytes bitmap, bytes siblings, bytes leaf
):
    """Whether the proof shows that under this root the key has the value; None is no value."""
    cdef Leaf entry
    cdef uint8_t current[HASH_SIZE]
    cdef uint8_t pair[2 * HASH_SIZE]
    cdef const uint8_t *present = <const uint8_t *> PyBytes_AS_STRING(bitmap)
    cdef const uint8_t *sibling = <const uint8_t *> PyBytes_AS_STRING(siblings)
    cdef int level, side, ones = 0
    if not 0 <= depth <= LEVELS or len(bitmap) != (depth + 7) >> 3 or len(root) != HASH_SIZE:
        return False
    for level in range(8 * <int> len(bitmap)):
        ones += bit(present, level)
        if level >= depth and bit(present, level):
            return False
    if HASH_SIZE * ones != len(siblings):
        return False
    hash_entry(&entry, key, value)
    if not _end_of_proof(current, &entry, value is not None, leaf):
        return False
    sibling += HASH_SIZE * ones
    for level in range(depth - 1, -1, -1):
        side = bit(entry.path, level)
        memcpy(pair + HASH_SIZE * side, current, HASH_SIZE)
        memset(pair + HASH_SIZE * (1 - side), 0, HASH_SIZE)
        if bit(present, level):
            sibling -= HASH_SIZE
            if is_empty(sibling):
                return False
            memcpy(pair + HASH_SIZE * (1 - side), sibling, HASH_SIZE)
        hash_tagged(current, &NODE, pair, sizeof(pair))
    return current[:HASH_SIZE] == root
