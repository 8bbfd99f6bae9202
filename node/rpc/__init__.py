"""JSON-RPC: the server, its methods, its schema, and what it asks of the node behind it."""
