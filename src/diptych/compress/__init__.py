"""Making a trained model smaller, or another program's."""
