"""What to train next, as pure functions of what is known: no Ray, no files, no clock."""
