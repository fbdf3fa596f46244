"""What the user gave, checked before any work starts: request, model, data."""
