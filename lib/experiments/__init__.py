"""From params.yaml to records: settings, training, what a record is worth, and the sweep that trains what is missing."""
