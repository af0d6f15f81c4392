"""The multi-version store: index, records, compaction, watchers. Knows nothing of Raft, network or wall clock."""
