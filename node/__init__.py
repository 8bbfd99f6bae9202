"""Everything impure: storage, mempool, RPC, command line, clients, and the loop that wires them."""
