"""What the README claims, computed again from raw data."""
