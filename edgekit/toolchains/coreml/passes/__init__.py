"""Passes over ML Programs."""
