"""What goes into a model: the forms of parameters and tensors, numbers and shapes."""
