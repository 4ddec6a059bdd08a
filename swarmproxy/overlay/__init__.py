"""The network between hosts: Docker's network and IPAM plugin, kernel VXLAN, and what keeps both true to the store."""
