"""What is durable: write-ahead log and backend. Knows nothing of what the bytes mean."""
