"""Reports: rows and artifacts as a page, pictures, Markdown, and files that viewers of models read."""
