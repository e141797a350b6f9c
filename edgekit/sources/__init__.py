"""What a user hands in, and what may not be loaded."""
