"""A trained model in use: faces in, answers out."""
