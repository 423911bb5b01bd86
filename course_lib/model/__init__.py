"""The model on one device. Nothing in this folder knows that there are ranks."""
