"""From records to what people read: one frame, tables, figures, and the table that ends ``suite run``."""
