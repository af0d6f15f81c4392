"""Being the first in a queue: the program, the guards, and writes that carry the proof."""
