"""Click models: a table of embeddings a column of categories, and a probability that an impression is clicked."""
