"""Following a recipe: from a checkpoint to another one of the same source."""
