"""Tables of features and targets, whatever is trained on them."""
