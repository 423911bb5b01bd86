"""The lectures: text, figures drawn by code, and what builds offline pages of them."""
