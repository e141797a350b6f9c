"""Pruning: weights, or channels, that are left out; what is called ``pattern`` says which."""
