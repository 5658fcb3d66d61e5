"""Compresses trained models for real, and proves the effect."""
