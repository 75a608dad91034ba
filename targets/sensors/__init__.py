"""What a board says of itself: power mode, clocks, temperatures, power drawn."""
