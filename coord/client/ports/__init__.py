"""What carries recipes: the blocking and the asyncio port, and background programs."""
