"""The project's own benchmarks; nothing else imports them."""
