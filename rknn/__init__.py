"""The place of the RKNN functions (vision, matmul, custom operators): one module for each. Version 0.1 has none yet."""
