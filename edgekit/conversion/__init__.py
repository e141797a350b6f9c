"""One conversion: what was asked for, what was loaded and made, and which of it is chosen."""
