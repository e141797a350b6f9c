"""Techniques that make another model of a checkpoint: one file each, on the framework's model, so all formats profit.

Where a format's own tool has the same, ours is still what runs: weights that already lie on the format's grid come out
of every quantizer as they are.
"""
