"""Every C function of RKNN, with the proof of its effect."""
