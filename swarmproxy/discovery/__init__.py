"""Where members are found and the cluster's records are kept: one Store protocol, one file per kind of store."""
