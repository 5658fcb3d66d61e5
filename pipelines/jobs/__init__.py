"""The jobs that `job=` names: the closed loop, a search, compression, feature synergy."""
