"""How work runs: children, their limits, the store and its keys."""
