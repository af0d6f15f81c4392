"""Tools for testing programs that use coord: simulator, virtual clock, throw-away servers."""
