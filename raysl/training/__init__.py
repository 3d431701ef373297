"""One trial on one rank: data, model, method, DDP, loop, checkpoint."""
