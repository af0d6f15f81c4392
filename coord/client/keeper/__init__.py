"""What a client keeps alive: its lease, the keys on it, and the ledger of keys to withdraw."""
