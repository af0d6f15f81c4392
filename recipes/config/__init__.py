"""Configuration: typed, followed live, validated before it is shown, with a history of its own."""
