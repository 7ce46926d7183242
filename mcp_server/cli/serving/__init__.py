"""How `serve` keeps its workers: one that crashes, hangs, stops or has lost its parent."""
