"""The words for how an order of ours stands to the paper's."""

AGREES, NOISE, REVERSED = "as in the paper", "within noise", "reversed"
