"""What people see while it runs."""
