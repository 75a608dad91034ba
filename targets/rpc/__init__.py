"""TVM's RPC: trackers, servers on this machine and on boards, sessions that check what they reach."""
