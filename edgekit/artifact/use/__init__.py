"""How an artifact is used: what its README tells whoever receives it beside the proof."""
