"""What programs import: `parley.client`."""
