"""Models as people write them, made as every route reads them: float32, with inputs in one order."""
