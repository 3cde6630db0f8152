"""File descriptors with requests and answers (protocol, section 5): whose they are, in which order, and that all go."""
