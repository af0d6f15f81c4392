"""The simulator: recipes and keepers on a virtual clock, a faulty network and the server's own store."""
