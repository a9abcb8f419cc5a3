"""How an adapted linear computes, starts, chains, merges and is saved."""
