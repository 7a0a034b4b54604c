"""The data owner's side: training, sending and evaluating."""
