"""The room of the servers through which processes agree: one file per kind of server."""
