"""Attacks on edgekit that can be repeated; see ``benchmarks/campaign.py``."""
