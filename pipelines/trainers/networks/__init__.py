"""Neural networks on tables: perceptrons, small convolutional and recurrent networks."""
