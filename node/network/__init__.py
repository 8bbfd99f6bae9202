"""Where consensus and the network meet: names, topics, fair turns, verdicts, and who one is."""
