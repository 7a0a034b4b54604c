"""What a run costs, whether its merge helped, which one to take, and taking it home."""
