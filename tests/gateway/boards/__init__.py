"""Several boards behind one balancer."""
