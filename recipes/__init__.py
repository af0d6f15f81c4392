"""Recipes: programs over a port, each with a blocking and an asyncio face."""
