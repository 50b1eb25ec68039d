"""Programs that use coalesce_kit: a service with a demonstration, and small ones for three web frameworks."""
