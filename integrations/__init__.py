"""Integrations with frameworks; each is imported by name and imports its framework inside."""
