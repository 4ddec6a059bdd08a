"""Who may connect: TLS on both legs."""
