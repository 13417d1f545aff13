"""The vision-language model: what it is made of, what it reads and how it writes."""
