"""The metrics of every epoch, as MLflow shows them."""

METRICS = (
    "epoch",
    "sparsity",
    "accuracy",
    "train_loss",
    "val_loss",
    "learning_rate",
    "macs",
    "weight_decay",
    "threshold_decay",
)
