"""Events: what tells of each step, and who reads them."""
