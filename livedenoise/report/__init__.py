"""Reports: one HTML file with its pictures and plots inside, and the pictures beside it."""
