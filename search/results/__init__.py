"""What a search found: judged networks, their front, `search.json`."""
