"""From records to what people see: tables, figures, and experiments as their notebooks show them."""
