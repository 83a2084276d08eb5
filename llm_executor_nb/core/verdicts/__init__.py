"""What a reply means: its words, codes and times read into one verdict."""
