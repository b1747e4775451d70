"""What a person looks at: one page that shows and plays what a run did to its files."""
