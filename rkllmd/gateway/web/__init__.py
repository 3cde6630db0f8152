"""HTTP: requests in, answers and streams out. Starlette on hypercorn, by trio. It may import all of the gateway."""
