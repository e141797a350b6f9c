"""Files that attack whoever loads them, by the kind of source that they are."""
