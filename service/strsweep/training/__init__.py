"""One training run: plain torch, and the Ray Train worker around it (``training.worker``)."""
