"""Compiled kernels and their pure twins: bytes in, bytes or bool out.

Which serves is decided here, once: the compiled, or with SAHARA_PURE_PYTHON=1 the slow pure ones.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING or os.environ.get("SAHARA_PURE_PYTHON") == "1":
    from cython_ext import _ed25519_py as _ed25519
    from cython_ext import _hashing_py as _hashing
    from cython_ext import _sumtree_py as _sumtree
    from cython_ext import _tree_py as _tree
    from cython_ext import _treeparts_py as _treeparts
    from cython_ext import _treeproof_py as _treeproof

    IMPLEMENTATION = "pure"
else:
    try:
        from cython_ext import _ed25519, _hashing, _sumtree, _tree, _treeparts, _treeproof
    except ImportError as error:
        raise ImportError(
            f"the compiled kernels did not load ({error}); install with `pip install .`, or set "
            "SAHARA_PURE_PYTHON=1 to debug with the slow pure ones"
        ) from error
    IMPLEMENTATION = "compiled"

verify = _ed25519.verify
verify_many = _ed25519.verify_many
tagged_hash = _hashing.tagged_hash
tagged_hash_many = _hashing.tagged_hash_many
merkle_root = _hashing.merkle_root
merkle_path = _hashing.merkle_path
merkle_verify = _hashing.merkle_verify
sum_root = _sumtree.sum_root
sum_path = _sumtree.sum_path
sum_verify = _sumtree.sum_verify
tree = _tree
tree_parts = _treeparts
tree_proof = _treeproof
