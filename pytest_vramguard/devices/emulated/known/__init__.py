"""Values that shape a computation are real on the emulated card: masks, labels, positions, counts.

No kernel runs there, so nothing that one would have computed is known. But what came from the host is, and so is what follows
from it. Small known tensors are computed on the CPU and written to the card's bytes; a read of anything else gives 0 and is
reported, and where it decides a shape the case cannot be judged.
"""
