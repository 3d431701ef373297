"""The Ray cluster: its address, connection, capacity and cost, its job server, and what is shipped to it."""
