"""The checkout itself: documents, examples, make, the floors and sizes of the house, and that tests mirror it."""
