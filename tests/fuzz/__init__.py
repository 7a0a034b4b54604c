"""Coverage-guided fuzzing of the decoder; ``make fuzz``."""
