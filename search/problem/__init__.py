"""What is searched for: budget, objective, and what a strategy must do."""
