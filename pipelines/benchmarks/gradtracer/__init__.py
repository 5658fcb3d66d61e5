"""The peer, gradtracer 0.9.0, on the same runs."""
