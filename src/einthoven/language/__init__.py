"""What reports say, without torch: cleaning, reading, tagging, masking, and prompts."""
