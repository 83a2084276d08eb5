"""Where attempts and answers are kept, and how they become tables."""
