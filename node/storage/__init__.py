"""What outlives the process: the key-value database and what is kept in it."""
