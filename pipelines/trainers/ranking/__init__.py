"""Models that rank items for a user: by the user's history, by who the user is, or by a graph."""
