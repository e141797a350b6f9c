"""Commands that make something of a model: convert, compress, sensitivity, train."""
