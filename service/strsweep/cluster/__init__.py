"""Many runs: where to try next, on which workers, until every target is hit."""
