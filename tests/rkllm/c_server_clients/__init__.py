"""What clients of the C server before this daemon send (protocol, section 3), and that no mistake hides in it."""
