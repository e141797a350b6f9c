"""Passes over .tflite models."""
