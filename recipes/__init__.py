"""Recipes: what distributed programs need, as programs over a port."""
