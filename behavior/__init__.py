"""behavior: how reasoning changed, counted and judged beside the sample rows."""
