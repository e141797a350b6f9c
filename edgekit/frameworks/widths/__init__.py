"""Models that are made as narrow as their weights: a source whose checkpoint has fewer channels than its code says."""
