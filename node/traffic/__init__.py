"""Traffic: demand, trading and transfers for ever on a devnet, with the demo's cast and traders."""
