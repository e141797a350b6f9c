"""Samples: the zoo's own tasks and readers of the user's data."""
