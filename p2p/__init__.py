"""The network: frames, handshake, gossip and peers; it moves bytes with sizes and topics."""
