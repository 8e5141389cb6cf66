"""What a run has to show: one HTML page that opens with the network off, and a model card."""
