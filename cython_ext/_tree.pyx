"""The state tree's kernel, compiled. Shape, pages and stored form are told in _tree_py.py.

A decoded page is one bytes object: SLOTS codes (the number of leaves in a slot, or CHILD), then the
hashes of binary nodes 2 and up (the page's root is 1, slot s is SLOTS + s), then from PACKED_SIZE
on the leaves of all slots, 96 bytes each. So two siblings stand side by side as the preimage of
their parent, and a leaf's path and value hash as the preimage of its hash. The root's hash stands
in the parent; without it a page of children alone fits into Python's allocator for small objects.
A page being written has its node i at 32 * i of its head.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport qsort
from libc.string cimport memcmp, memcpy, memset

from cython_ext._sodium cimport as_tag, hash_tagged

SLOT_LEAVES_MAX = LEAVES_MAX

KEY = as_tag(b"tree/key")
VALUE = as_tag(b"tree/value")
LEAF = as_tag(b"tree/leaf")
NODE = as_tag(b"tree/node")
cdef uint8_t EMPTY[HASH_SIZE]
memset(EMPTY, 0, HASH_SIZE)


cdef bytes key_of_page(int level, const uint8_t *path):
    cdef int size = level + 7 >> 3
    cdef bytes key = PyBytes_FromStringAndSize(NULL, 1 + size)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(key)
    out[0] = level
    memcpy(out + 1, path, size)
    if level & 7:
        out[size] &= 0xFF << (8 - (level & 7))
    return key


cdef void hash_entry(Leaf *leaf, bytes key, bytes value):
    """A leaf from a key and a value; None makes the change that takes it away."""
    hash_tagged(leaf.path, &KEY, <const uint8_t *> PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    if value is None:
        memset(leaf.hash, 0, HASH_SIZE)
        return
    hash_tagged(
        leaf.value_hash, &VALUE, <const uint8_t *> PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    )
    hash_tagged(leaf.hash, &LEAF, leaf.path, 2 * HASH_SIZE)


cdef void hash_subtree(
    uint8_t *out, const Leaf **leaves, Py_ssize_t count, int level
) noexcept nogil:
    """The hash over leaves that stand in ascending order and agree above the level."""
    cdef uint8_t pair[2 * HASH_SIZE]
    cdef Py_ssize_t low = 0, high = count, middle
    if count < 2:
        if count:
            memcpy(out, leaves[0].hash, HASH_SIZE)
        else:
            memset(out, 0, HASH_SIZE)
        return
    while low < high:
        middle = (low + high) >> 1
        if bit(leaves[middle].path, level):
            high = middle
        else:
            low = middle + 1
    hash_subtree(pair, leaves, low, level + 1)
    hash_subtree(pair + HASH_SIZE, leaves + low, count - low, level + 1)
    hash_tagged(out, &NODE, pair, sizeof(pair))


cdef void weigh(uint8_t *weights, const uint8_t *head) noexcept nogil:
    """For each binary node: 0 without leaves, 1 with a lone one, else 2."""
    cdef int index
    for index in range(SLOTS):
        weights[SLOTS + index] = min(head[index], 2)
    for index in range(SLOTS - 1, 0, -1):
        weights[index] = min(weights[2 * index] + weights[2 * index + 1], 2)


cdef void _rehash(uint8_t *head, uint32_t dirty, int top) noexcept nogil:
    """Hash every node of a page, from the top node on, above its dirty slots (bit s: slot s)."""
    cdef uint8_t weights[2 * SLOTS]
    cdef int index
    cdef uint8_t *out
    weigh(weights, head)
    dirty <<= SLOTS
    for index in range(SLOTS - 1, top - 1, -1):
        if not dirty >> 2 * index & 3:
            continue
        dirty |= <uint32_t> 1 << index
        out = head + HASH_SIZE * index
        if weights[index] == 2:
            hash_tagged(out, &NODE, head + 2 * HASH_SIZE * index, 2 * HASH_SIZE)
        else:
            memcpy(out, head + HASH_SIZE * (2 * index + (weights[2 * index] == 0)), HASH_SIZE)


cdef void _unpack(Work *work, const uint8_t *page) noexcept nogil:
    cdef const Leaf *leaf = <const Leaf *> (page + PACKED_SIZE)
    cdef int slot, index
    memcpy(work.head, page, SLOTS)
    memcpy(work.head + 2 * HASH_SIZE, packed_hash(page, 2), PACKED_SIZE - SLOTS)
    for slot in range(SLOTS):
        if work.head[slot] != CHILD:
            for index in range(work.head[slot]):
                work.leaves[slot][index] = leaf
                leaf += 1


cdef bytes _pack(const Work *work):
    cdef int slot, index, total = 0
    for slot in range(SLOTS):
        if work.head[slot] != CHILD:
            total += work.head[slot]
    cdef bytes page = PyBytes_FromStringAndSize(NULL, PACKED_SIZE + LEAF_SIZE * total)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(page)
    memcpy(out, work.head, SLOTS)
    memcpy(out + SLOTS, work.head + 2 * HASH_SIZE, PACKED_SIZE - SLOTS)
    out += PACKED_SIZE
    for slot in range(SLOTS):
        if work.head[slot] != CHILD:
            for index in range(work.head[slot]):
                memcpy(out, work.leaves[slot][index], LEAF_SIZE)
                out += LEAF_SIZE
    return page


cdef Py_ssize_t _merge(
    const Leaf **out,
    const Leaf **old, Py_ssize_t old_count,
    const Leaf **changes, Py_ssize_t count,
) noexcept nogil:
    """Old leaves with the changes on them, ascending; how many there are."""
    cdef Py_ssize_t at = 0, change = 0, written = 0
    cdef int order
    while at < old_count or change < count:
        if change == count:
            order = -1
        elif at == old_count:
            order = 1
        else:
            order = memcmp(old[at].path, changes[change].path, HASH_SIZE)
        if order < 0:
            out[written] = old[at]
            written += 1
            at += 1
            continue
        at += order == 0
        if not is_empty(changes[change].hash):
            out[written] = changes[change]
            written += 1
        change += 1
    return written


cdef const uint8_t *find_page(
    list overlays, object fetch, list held, bytes key, const uint8_t *expected
) except NULL:
    """The page, from the newest overlay that has it or else fetched; `held` keeps it alive."""
    cdef PyObject *found
    cdef bytes page
    for overlay in overlays:
        found = PyDict_GetItem(<dict> overlay, key)
        if found != NULL and <object> found is not None:
            page = <bytes> found
            break
    else:
        page = fetch(key, expected[:HASH_SIZE])
    held.append(page)
    return <const uint8_t *> PyBytes_AS_STRING(page)


cdef class _Update:
    """One update under way: where pages come from, and those that it wrote."""

    cdef list overlays
    cdef object fetch
    cdef list held
    cdef dict pages
    cdef const Leaf **room

    cdef const uint8_t *load(
        self, int level, const uint8_t *path, const uint8_t *expected
    ) except NULL:
        return find_page(self.overlays, self.fetch, self.held, key_of_page(level, path), expected)

    cdef int apply(
        self, const uint8_t *page, int level, const Leaf **changes, Py_ssize_t count,
        Work *parent, int parent_slot,
    ) except -1:
        """Apply changes below a page (none: build it) and set what its parent's slot holds."""
        cdef Work work
        cdef Py_ssize_t start = 0, end
        cdef uint32_t dirty = 0
        cdef int slot
        if page == NULL:
            memset(work.head, 0, HEAD_SIZE)
        else:
            _unpack(&work, page)
        while start < count:
            slot = slot_of(changes[start].path, level)
            end = start + 1
            while end < count and slot_of(changes[end].path, level) == slot:
                end += 1
            self.apply_to_slot(&work, slot, page == NULL, level, changes + start, end - start)
            dirty |= <uint32_t> 1 << slot
            start = end
        cdef bytes key = key_of_page(level, changes[0].path)
        if self.collapse(&work, level, parent, parent_slot):
            if page != NULL:
                self.pages[key] = None
            return 0
        _rehash(work.head, dirty, 1)
        self.pages[key] = _pack(&work)
        parent.head[parent_slot] = CHILD
        memcpy(slot_hash(parent.head, parent_slot), work.head + HASH_SIZE, HASH_SIZE)
        return 0

    cdef int apply_to_slot(
        self, Work *work, int slot, bint building, int level, const Leaf **changes, Py_ssize_t count
    ) except -1:
        cdef uint8_t *digest = slot_hash(work.head, slot)
        cdef const Leaf **merged = changes
        if work.head[slot] == CHILD:
            return self.apply(
                self.load(level + PAGE_LEVELS, changes[0].path, digest),
                level + PAGE_LEVELS, changes, count, work, slot,
            )
        if not building:
            merged = self.room
            count = _merge(merged, work.leaves[slot], work.head[slot], changes, count)
            self.room += count
        if count > LEAVES_MAX:
            return self.apply(NULL, level + PAGE_LEVELS, merged, count, work, slot)
        _fill_slot(work, slot, merged, count, level + PAGE_LEVELS)
        return 0

    cdef bint collapse(self, const Work *work, int level, Work *parent, int parent_slot):
        """Hand the leaves to the parent's slot when they fit there; false when they do not."""
        cdef const Leaf *leaves[LEAVES_MAX]
        cdef int slot, index, total = 0, most = LEAVES_MAX if level else 0
        for slot in range(SLOTS):
            if work.head[slot] == CHILD or total + work.head[slot] > most:
                return False
            for index in range(work.head[slot]):
                leaves[total] = work.leaves[slot][index]
                total += 1
        _fill_slot(parent, parent_slot, leaves, total, level)
        return True


cdef void _fill_slot(
    Work *work, int slot, const Leaf **leaves, Py_ssize_t count, int level
) noexcept nogil:
    work.head[slot] = count
    memcpy(work.leaves[slot], leaves, count * sizeof(Leaf *))
    hash_subtree(slot_hash(work.head, slot), leaves, count, level)


cdef int _compare(const void *low, const void *high) noexcept nogil:
    cdef const Leaf *left = (<const Leaf **> low)[0]
    cdef const Leaf *right = (<const Leaf **> high)[0]
    return memcmp(left.path, right.path, HASH_SIZE)


cdef bint sort_leaves(const Leaf **leaves, Py_ssize_t count) noexcept nogil:
    """Sort by path; false when two leaves have one path."""
    cdef Py_ssize_t at
    qsort(leaves, count, sizeof(Leaf *), _compare)
    for at in range(1, count):
        if _compare(leaves + at - 1, leaves + at) == 0:
            return False
    return True


def update(list overlays, fetch, bytes root, changes):
    """Set or, with None, take away keys: the new root and the pages written (None: gone)."""
    cdef list entries = list(changes)
    cdef Py_ssize_t at, live = 0, count = len(entries)
    cdef Leaf *leaves = <Leaf *> PyMem_Malloc(max(count, 1) * LEAF_SIZE)
    cdef const Leaf **sorted_leaves = <const Leaf **> PyMem_Malloc(
        max(count, 1) * (2 + LEAVES_MAX) * sizeof(Leaf *)
    )
    cdef bint building = root == bytes(HASH_SIZE)
    cdef bytes key, value
    try:
        if leaves == NULL or sorted_leaves == NULL:
            raise MemoryError
        if len(root) != HASH_SIZE:
            raise ValueError("a root has 32 bytes")
        for at in range(count):
            key, value = entries[at]
            if key is None:
                raise TypeError("a key is bytes, not None")
            hash_entry(leaves + at, key, value)
            sorted_leaves[at] = leaves + at
        if not sort_leaves(sorted_leaves, count):
            raise ValueError("a key is changed twice in one update")
        if building:
            for at in range(count):
                if not is_empty(sorted_leaves[at].hash):
                    sorted_leaves[live] = sorted_leaves[at]
                    live += 1
            count = live
        if count == 0:
            return root, {}
        return _run(overlays, fetch, None if building else root, sorted_leaves, count)
    finally:
        PyMem_Free(leaves)
        PyMem_Free(sorted_leaves)


cdef tuple _run(list overlays, object fetch, bytes root, const Leaf **leaves, Py_ssize_t count):
    """Apply sorted changes; behind the leaves there is room for LEAVES_MAX + 1 times as many."""
    cdef _Update run = _Update.__new__(_Update)
    cdef Work above
    cdef const uint8_t *page = NULL
    run.overlays, run.fetch, run.held, run.pages = overlays, fetch, [], {}
    run.room = leaves + count
    if root is not None:
        page = run.load(0, EMPTY, <const uint8_t *> PyBytes_AS_STRING(root))
    run.apply(page, 0, leaves, count, &above, 0)
    return slot_hash(above.head, 0)[:HASH_SIZE], run.pages


def page_key(int level, bytes path):
    """The key of the page that starts at the level, a multiple of PAGE_LEVELS, of the path."""
    if not 0 <= level < LEVELS or level % PAGE_LEVELS or len(path) < level + 7 >> 3:
        raise ValueError("a page starts at a multiple of its levels, within the path")
    return key_of_page(level, <const uint8_t *> PyBytes_AS_STRING(path))


def page_hash(bytes page):
    """The hash of the subtree that starts at the page."""
    cdef const uint8_t *start = <const uint8_t *> PyBytes_AS_STRING(page)
    cdef uint8_t weights[2 * SLOTS]
    cdef uint8_t digest[HASH_SIZE]
    weigh(weights, start)
    if weights[1] < 2:
        return packed_hash(start, 2 + (weights[2] == 0))[:HASH_SIZE]
    hash_tagged(digest, &NODE, packed_hash(start, 2), 2 * HASH_SIZE)
    return digest[:HASH_SIZE]


cpdef bytes encode_page(bytes page):
    """The stored form of a page."""
    cdef const uint8_t *head = <const uint8_t *> PyBytes_AS_STRING(page)
    cdef const Leaf *leaf = <const Leaf *> (head + PACKED_SIZE)
    cdef int slot, index
    cdef Py_ssize_t size = CODES_SIZE
    for slot in range(SLOTS):
        size += HASH_SIZE if head[slot] == CHILD else STORED_LEAF_SIZE * head[slot]
    cdef bytes stored = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(stored)
    for slot in range(CODES_SIZE):
        out[slot] = head[2 * slot] << 4 | head[2 * slot + 1]
    out += CODES_SIZE
    for slot in range(SLOTS):
        if head[slot] == CHILD:
            memcpy(out, packed_hash(head, SLOTS + slot), HASH_SIZE)
            out += HASH_SIZE
            continue
        for index in range(head[slot]):
            memcpy(out, leaf.path, STORED_LEAF_SIZE)
            out += STORED_LEAF_SIZE
            leaf += 1
    return stored


def encode_pages(dict pages, bytes prefix):
    """Rows to put and keys to delete for pages by key, None where one is gone."""
    cdef list puts = [], deletes = []
    for key, page in pages.items():
        if page is None:
            deletes.append(prefix + <bytes> key)
        else:
            puts.append((prefix + <bytes> key, encode_page(page)))
    return puts, deletes


def sort_pages(dict pages, int floor, dict upper, dict lower):
    """Move pages into those above a level or the others; what is None leaves them."""
    cdef dict target
    for key, page in pages.items():
        target = upper if (<uint8_t *> PyBytes_AS_STRING(key))[0] < floor else lower
        if page is None:
            target.pop(key, None)
        else:
            target[key] = page


def decode_page(bytes stored, int level):
    """The page, its hashes computed anew; ValueError for what no page encodes to."""
    cdef const uint8_t *codes = <const uint8_t *> PyBytes_AS_STRING(stored)
    cdef int slot, total = 0
    cdef Py_ssize_t size = CODES_SIZE
    cdef Work work
    if not 0 <= level < LEVELS:
        raise ValueError("a stored page starts at a level of the path")
    memset(work.head, 0, HEAD_SIZE)
    if PyBytes_GET_SIZE(stored) >= CODES_SIZE:
        for slot in range(SLOTS):
            work.head[slot] = codes[slot >> 1] & 15 if slot & 1 else codes[slot >> 1] >> 4
            if work.head[slot] == CHILD:
                size += HASH_SIZE
            else:
                size += STORED_LEAF_SIZE * work.head[slot]
                total += work.head[slot]
    if PyBytes_GET_SIZE(stored) != size:
        raise ValueError("a stored page has a length that its header does not announce")
    cdef Leaf *leaves = <Leaf *> PyMem_Malloc(max(total, 1) * LEAF_SIZE)
    try:
        if leaves == NULL:
            raise MemoryError
        if not _decode_slots(&work, codes + CODES_SIZE, leaves, level):
            raise ValueError("a stored page holds leaves that do not belong there")
        return _pack(&work)
    finally:
        PyMem_Free(leaves)


cdef bint _decode_slots(Work *work, const uint8_t *at, Leaf *leaf, int level) noexcept nogil:
    cdef const Leaf *leaves[LEAVES_MAX]
    cdef int slot, index, count
    for slot in range(SLOTS):
        count = work.head[slot]
        if count == CHILD:
            memcpy(slot_hash(work.head, slot), at, HASH_SIZE)
            at += HASH_SIZE
            continue
        if count > LEAVES_MAX:
            return False
        for index in range(count):
            memcpy(leaf.path, at, STORED_LEAF_SIZE)
            hash_tagged(leaf.hash, &LEAF, leaf.path, STORED_LEAF_SIZE)
            if slot_of(leaf.path, level) != slot:
                return False
            if index and memcmp(leaves[index - 1].path, leaf.path, HASH_SIZE) >= 0:
                return False
            leaves[index] = leaf
            leaf += 1
            at += STORED_LEAF_SIZE
        _fill_slot(work, slot, leaves, count, level + PAGE_LEVELS)
    _rehash(work.head, (1 << SLOTS) - 1, 2)
    return True
