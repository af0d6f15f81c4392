"""What every recipe uses: durations, the table of stored keys, patience, following."""
