"""How the agent looks: drawn by the talk page, or a picture from elsewhere."""
