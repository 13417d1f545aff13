"""Train vision-language models for Facial Emotion Analysis: Action Units, reasoning, emotion."""

__version__ = "0.1.0"
