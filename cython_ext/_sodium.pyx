"""The libsodium that PyNaCl ships, reached through C function pointers: no headers, no linking.

`nacl._sodium` is a private name of PyNaCl, so its minor version is pinned and everything taken
from it is checked here, once, at import: the pointers exist, and known answers come out of them.
"""

from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

PYNACL_SERIES = "1.6."
_ADVICE = f"install PyNaCl {PYNACL_SERIES}x, the series that this code is checked against."


def _pointer(ffi, lib, str name):
    try:
        return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))
    except (AttributeError, TypeError) as error:
        raise ImportError(f"PyNaCl's libsodium does not offer {name}; {_ADVICE}") from error


def _load():
    global sign_open, blake2b, blake2b_init, blake2b_update, blake2b_final
    import nacl

    if not nacl.__version__.startswith(PYNACL_SERIES):
        raise ImportError(f"PyNaCl {nacl.__version__} is installed; {_ADVICE}")
    from nacl._sodium import ffi, lib

    if lib.crypto_generichash_statebytes() > STATE_SIZE:
        raise ImportError(f"PyNaCl's libsodium has a larger hash state than expected; {_ADVICE}")
    sign_open = <sign_open_t> <uintptr_t> _pointer(ffi, lib, "crypto_sign_open")
    hashing = "crypto_generichash_blake2b"
    blake2b = <blake2b_t> <uintptr_t> _pointer(ffi, lib, f"{hashing}_salt_personal")
    blake2b_init = <blake2b_init_t> <uintptr_t> _pointer(ffi, lib, f"{hashing}_init_salt_personal")
    blake2b_update = <blake2b_update_t> <uintptr_t> _pointer(ffi, lib, f"{hashing}_update")
    blake2b_final = <blake2b_final_t> <uintptr_t> _pointer(ffi, lib, f"{hashing}_final")


cdef Tag as_tag(bytes tag) except *:
    cdef Tag padded
    cdef Py_ssize_t size = len(tag)
    if size > 16:
        raise ValueError(f"a hash tag holds at most 16 bytes, this one has {size}")
    memset(padded.bytes, 0, 16)
    memcpy(padded.bytes, <const uint8_t *> tag, size)
    return padded


# libsodium's state is 384 bytes and wants 64-byte alignment; the slack serves the alignment.
cdef enum:
    STATE_SIZE = 384
    STATE_ALIGNMENT = 64


cdef void hash_prefixed(
    uint8_t *out, const Tag *tag, uint8_t prefix, const uint8_t *data, size_t data_size
) noexcept nogil:
    cdef uint8_t room[STATE_SIZE + STATE_ALIGNMENT]
    cdef uintptr_t start = <uintptr_t> room
    cdef void *state = <void *> (start + (STATE_ALIGNMENT - start % STATE_ALIGNMENT))
    blake2b_init(state, NULL, 0, 32, NULL, tag.bytes)
    blake2b_update(state, &prefix, 1)
    blake2b_update(state, data, data_size)
    blake2b_final(state, out, 32)


# RFC 8032 section 7.1, test 1: the signature of the empty message.
_PUBLIC_KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701c"
    "f9b46bd25bf5f0595bbe24655141438e7a100b"
)
_IDENTITY = bytes([1]) + bytes(31)
# hashlib.blake2b(b"abc", digest_size=32, person=b"sahara")
_DIGEST = bytes.fromhex("a9b928cfc28bc137372012efc19a81fe2ef0f583a897d3d62beab57c1b950645")


def _check_known_answers():
    cdef uint8_t digest[32]
    cdef Tag tag = as_tag(b"sahara")
    cdef bytes forged = _IDENTITY + bytes(32)
    cdef bytes genuine = _SIGNATURE
    cdef bytes public_key = _PUBLIC_KEY
    cdef bytes identity = _IDENTITY
    if sign_open(NULL, NULL, genuine, 64, public_key) != 0:
        raise ImportError(f"PyNaCl's libsodium refuses a valid signature; {_ADVICE}")
    if sign_open(NULL, NULL, forged, 64, identity) == 0:
        raise ImportError(f"PyNaCl's libsodium accepts a small-order key; {_ADVICE}")
    hash_tagged(digest, &tag, <const uint8_t *> b"abc", 3)
    if digest[:32] != _DIGEST:
        raise ImportError(f"PyNaCl's libsodium computes another BLAKE2b; {_ADVICE}")
    hash_prefixed(digest, &tag, 0x61, <const uint8_t *> b"bc", 2)
    if digest[:32] != _DIGEST:
        raise ImportError(f"PyNaCl's libsodium computes another streamed BLAKE2b; {_ADVICE}")


_load()
_check_known_answers()
