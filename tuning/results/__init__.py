"""What a search leaves: table, best settings, figure."""
