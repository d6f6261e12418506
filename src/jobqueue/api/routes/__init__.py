"""The routes, one module per noun; they do not know each other. Each has `build(services) -> APIRouter`."""
