"""What the comparing programs share: random base models, Gesso's half of a comparison, and the report."""
