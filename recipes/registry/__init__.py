"""Services: who is registered, and finding them."""
