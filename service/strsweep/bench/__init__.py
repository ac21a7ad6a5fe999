"""Side-by-side measurements of what the library costs and gives."""
