"""Trained models compressed for real, and the proof of it."""
