"""The application: Hydra-configured experiments on real data."""
