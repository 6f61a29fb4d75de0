"""Every figure, drawn from the results of its experiment."""
