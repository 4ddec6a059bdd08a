"""The Engine API: route table, dispatch, streams, and one module a family of endpoints."""
