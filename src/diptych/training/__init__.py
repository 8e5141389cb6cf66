"""How it is learnt: one loop for every task and model, its order, optimizer, schedule, checkpoints and regimes."""
