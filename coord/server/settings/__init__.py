"""What a server is told at its start: flags, environment, file, and what they come to."""
