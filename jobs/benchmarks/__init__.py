"""Programs that measure: what a search costs, what methods give, what a step takes."""
