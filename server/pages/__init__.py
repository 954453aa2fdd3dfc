"""What people see around the talk: templates, the words in them, and which language those are in."""
