"""What is simulated: one file for each recipe."""
