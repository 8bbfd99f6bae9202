"""Ed25519 verification by libsodium's strict rule, one signature or many, without the GIL."""

import os
from concurrent.futures import ThreadPoolExecutor

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from cython_ext._sodium cimport sign_open

cdef extern from *:
    """
    /* Workers draw their next run of items from here; gcc and clang both have the builtin. */
    static Py_ssize_t sahara_draw(Py_ssize_t *cursor, Py_ssize_t run) {
        return __sync_fetch_and_add(cursor, run);
    }
    """
    Py_ssize_t sahara_draw(Py_ssize_t *cursor, Py_ssize_t run) noexcept nogil

cdef enum:
    KEY_SIZE = 32
    SIGNATURE_SIZE = 64
    RUN = 4  # items drawn at a time: 0.2 ms of work, so that no core idles long at the end
    ALONE_MAX = 8  # batches up to this size are not worth waking another thread

ctypedef struct Item:
    const uint8_t *public_key
    const uint8_t *signed_message
    unsigned long long size


def verify(bytes public_key not None, bytes message not None, bytes signature not None):
    """Whether the signature of the message holds; wrong lengths are False."""
    cdef bytes signed_message
    cdef const uint8_t *key
    cdef const uint8_t *start
    cdef unsigned long long size
    cdef int refused
    if len(public_key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    signed_message = signature + message
    key = <const uint8_t *> PyBytes_AS_STRING(public_key)
    start = <const uint8_t *> PyBytes_AS_STRING(signed_message)
    size = PyBytes_GET_SIZE(signed_message)
    with nogil:
        refused = sign_open(NULL, NULL, start, size, key)
    return refused == 0


cdef class _Batch:
    """Items laid out in C, verdicts, and the cursor that all workers share."""

    cdef Item *items
    cdef uint8_t *verdicts
    cdef Py_ssize_t count
    cdef Py_ssize_t cursor
    cdef list held  # keeps alive the bytes that `items` points into

    def __cinit__(self, list held):
        self.held = held
        self.count = len(held)
        self.items = <Item *> malloc((self.count or 1) * sizeof(Item))
        self.verdicts = <uint8_t *> malloc(self.count or 1)
        if self.items is NULL or self.verdicts is NULL:
            raise MemoryError()
        self._lay_out()

    def __dealloc__(self):
        free(self.items)
        free(self.verdicts)

    cdef _lay_out(self):
        cdef Py_ssize_t at
        cdef bytes public_key, signed_message
        for at in range(self.count):
            public_key, signed_message = self.held[at]
            self.items[at].public_key = <const uint8_t *> PyBytes_AS_STRING(public_key)
            self.items[at].signed_message = <const uint8_t *> PyBytes_AS_STRING(signed_message)
            self.items[at].size = PyBytes_GET_SIZE(signed_message)

    def work(self):
        """Draw runs of items and verify them until none is left."""
        cdef Py_ssize_t at, end
        with nogil:
            while True:
                at = sahara_draw(&self.cursor, RUN)
                if at >= self.count:
                    break
                end = min(at + RUN, self.count)
                while at < end:
                    self.verdicts[at] = sign_open(
                        NULL, NULL, self.items[at].signed_message, self.items[at].size,
                        self.items[at].public_key,
                    ) == 0
                    at += 1

    cdef list answers(self):
        return [self.verdicts[at] == 1 for at in range(self.count)]


# An item of wrong lengths: a signature that verifies for nobody, so it needs no branch later.
cdef bytes _NO_KEY = bytes(KEY_SIZE)
cdef bytes _NO_SIGNATURE = bytes(SIGNATURE_SIZE)

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_pool = None


def _forget_pool():
    """A forked child has none of its parent's threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_forget_pool)


def _helpers():
    """The threads beside the calling one, made at first use."""
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max_workers=_CORES - 1, thread_name_prefix="verify")
    return _pool


def verify_many(items not None, *, int threads=_CORES):
    """One verdict per (public_key, message, signature), spread over all cores without the GIL."""
    cdef bytes public_key, message, signature
    cdef list held = []
    for public_key, message, signature in items:
        if public_key is None or message is None or signature is None:
            raise TypeError("verify_many takes bytes, not None")
        if len(public_key) == KEY_SIZE and len(signature) == SIGNATURE_SIZE:
            held.append((public_key, signature + message))
        else:
            held.append((_NO_KEY, _NO_SIGNATURE))
    cdef _Batch batch = _Batch(held)
    if batch.count <= ALONE_MAX or threads <= 1 or _CORES <= 1:
        batch.work()
        return batch.answers()
    helpers = [_helpers().submit(batch.work) for _ in range(min(threads, _CORES) - 1)]
    batch.work()
    for helper in helpers:
        if not helper.cancel():  # one that never started has nothing left to do
            helper.result()
    return batch.answers()
