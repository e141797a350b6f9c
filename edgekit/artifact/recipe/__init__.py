"""What a recipe gained, in the files that are handed out."""
