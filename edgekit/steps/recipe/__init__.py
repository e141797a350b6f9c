"""The steps of a recipe: training a source's weights, and saving the checkpoint."""
