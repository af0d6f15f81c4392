"""Election: one candidate leads, everybody may follow who it is, and leadership can be handed over."""
