"""What vision costs: tensors on their way, the steps of the loop meanwhile, a camera beside an answer."""
